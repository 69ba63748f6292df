# The digits supernet in a Zephyr application. In the application's CMakeLists.txt, after its project():
#
#   include(path/to/examples/zephyr/model.cmake)
#
# `app` is the library that Zephyr makes of an application's sources, CONFIG_* are the choices of its Kconfig.
if(CONFIG_CPU_CORTEX_M4)
  set(digits_cpu cortex-m4)
elseif(CONFIG_CPU_CORTEX_M7)
  set(digits_cpu cortex-m7)
else()
  message(FATAL_ERROR "digits: condensec has no target for this board; it has the Cortex-M4F and M7")
endif()
if(NOT CONFIG_FP_HARDABI)
  message(FATAL_ERROR "digits: the library passes floats in registers: set CONFIG_FPU and CONFIG_FP_HARDABI")
endif()

find_package(condensec REQUIRED)
add_condensec_model(digits MODEL "${CMAKE_CURRENT_LIST_DIR}/../digits/digits_supernet.onnx" CPU ${digits_cpu}
  OPTIONS --input-shape image=1x1x32x32)

target_sources(app PRIVATE "${CMAKE_CURRENT_LIST_DIR}/src/main.c")
# The images that the other examples name, too.
target_include_directories(app PRIVATE "${CMAKE_CURRENT_LIST_DIR}/../c")
target_link_libraries(app PRIVATE digits)
