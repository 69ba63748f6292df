# Models in CMake projects, compiled by condensec when the project is built.
#
#   find_package(condensec REQUIRED)           # this file: `condensec cmake -o cmake` writes it to a folder of yours
#   add_condensec_model(digits MODEL models/digits.onnx)
#   target_link_libraries(app PRIVATE digits)  # brings digits.h, digits.hpp and the library
#
# add_condensec_model(<name> MODEL <file> [TARGET <target>] [CPU <cpu>] [OPTIONS <option>...])
#   A library target called <name>, also the prefix of the C symbols. TARGET is one of `condensec targets`; by default
#   that of the toolchain file, or this machine. OPTIONS go to condensec as they are, e.g. --masks masks.npz.
#
# CONDENSEC_EXECUTABLE says which condensec is used, by default the one in PATH.
cmake_minimum_required(VERSION 3.19)

find_program(CONDENSEC_EXECUTABLE condensec DOC "The compiler for ONNX supernets")
include(FindPackageHandleStandardArgs)
set(CMAKE_FIND_PACKAGE_NAME condensec)
find_package_handle_standard_args(condensec REQUIRED_VARS CONDENSEC_EXECUTABLE)

# The name that condensec has for what CMake compiles for.
function(_condensec_target result)
  string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
  if(NOT CMAKE_CROSSCOMPILING)
    set(target host)
  elseif(ANDROID OR CMAKE_SYSTEM_NAME STREQUAL "Android")
    if(processor MATCHES "^(aarch64|arm64)$")
      set(target aarch64-android)
    elseif(processor STREQUAL "x86_64")
      # Objects for Linux are objects for Android, since they need nothing of a C library.
      set(target x86_64)
    else()
      # armeabi-v7a passes floats in integer registers, the target armv7a does not.
      message(FATAL_ERROR "condensec: there is no target for Android on ${CMAKE_SYSTEM_PROCESSOR}; "
        "there is one for the ABIs arm64-v8a and x86_64")
    endif()
  elseif(processor MATCHES "^(aarch64|arm64)$")
    if(APPLE)
      set(target aarch64-macos)
    else()
      set(target aarch64)
    endif()
  elseif(processor MATCHES "^(x86_64|amd64)$")
    if(WIN32)
      set(target x86_64-windows)
    else()
      set(target x86_64)
    endif()
  elseif(processor MATCHES "^riscv64$")
    set(target riscv64)
  elseif(processor MATCHES "^(arm|armv7.*|cortex-m.*)$")
    if(CMAKE_SYSTEM_NAME STREQUAL "Generic")
      set(target thumbv7em)
    else()
      set(target armv7a)
    endif()
  else()
    message(FATAL_ERROR "condensec: give add_condensec_model a TARGET for ${CMAKE_SYSTEM_PROCESSOR}")
  endif()
  set(${result} ${target} PARENT_SCOPE)
endfunction()

function(add_condensec_model name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "MODEL;TARGET;CPU" "OPTIONS")
  if(NOT arg_MODEL OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "add_condensec_model(<name> MODEL <file> [TARGET <t>] [CPU <c>] [OPTIONS <option>...])")
  endif()
  if(NOT arg_TARGET)
    _condensec_target(arg_TARGET)
    if(ANDROID AND arg_TARGET STREQUAL "x86_64" AND NOT arg_CPU)
      # The ABI promises no AVX.
      set(arg_CPU x86-64-v2)
    endif()
  endif()
  get_filename_component(model "${arg_MODEL}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/${name}.condensec")
  set(library "${folder}/lib${name}.a")
  if(arg_TARGET STREQUAL "x86_64-windows")
    set(library "${folder}/${name}.lib")
  endif()
  set(command "${CONDENSEC_EXECUTABLE}" "${model}" --name ${name} --target ${arg_TARGET} -o "${folder}")
  if(arg_CPU)
    list(APPEND command --cpu ${arg_CPU})
  endif()
  add_custom_command(
    OUTPUT "${library}" "${folder}/${name}.h" "${folder}/${name}.hpp"
    COMMAND ${command} ${arg_OPTIONS}
    DEPENDS "${model}" "${CONDENSEC_EXECUTABLE}"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    COMMENT "Compiling ${arg_MODEL} for ${arg_TARGET}"
    VERBATIM)
  add_custom_target(${name}-model DEPENDS "${library}")
  add_library(${name} INTERFACE)
  add_dependencies(${name} ${name}-model)
  target_include_directories(${name} INTERFACE "${folder}")
  target_link_libraries(${name} INTERFACE "${library}")
  if(NOT WIN32)
    target_link_libraries(${name} INTERFACE m)
  endif()
endfunction()
