//! From a program to the files of a library, in memory.

use crate::companions::{self, Linking, Manifest};
use crate::image::Image;
use crate::merge::merge_objects;
use crate::{Backend, BackendError, CompiledCode, Target, archive, object};
use condensec_ir::kernel::{Program, Section, print_function};
use target_lexicon::BinaryFormat;

/// Whether to keep a readable form of every function, which costs time and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Texts {
    /// No texts.
    #[default]
    Skip,
    /// Kernel IR and assembly.
    Keep,
}

/// How to build a library.
#[derive(Debug, Clone)]
pub struct LibraryOptions {
    /// For `--emit asm` and the like.
    pub texts: Texts,
    /// From 0, compiles fastest, to 3, runs fastest. Cranelift knows one way only.
    pub optimization: u8,
}

impl Default for LibraryOptions {
    fn default() -> Self {
        Self {
            texts: Texts::Skip,
            optimization: 3,
        }
    }
}

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryFile {
    /// Name without a folder.
    pub name: String,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// Sizes in bytes, as the manifest has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Weight values.
    pub weights: u64,
    /// Column indices.
    pub indices: u64,
    /// List tables, parameters, step tables, descriptor.
    pub tables: u64,
    /// Machine code.
    pub code: u64,
}

/// One function of the library, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelText {
    /// Symbol.
    pub name: String,
    /// Size of its machine code.
    pub code_bytes: u64,
    /// Kernel IR; empty unless [`Texts::Keep`].
    pub kernel_ir: String,
    /// Assembly; empty unless [`Texts::Keep`].
    pub assembly: String,
}

/// What [`build_library`] makes.
#[derive(Debug, Clone)]
pub struct Library {
    /// Name of the model.
    pub name: String,
    /// The static library first, then the companions.
    pub files: Vec<LibraryFile>,
    /// The object files in the static library, for `--emit obj`.
    pub objects: Vec<LibraryFile>,
    /// Contents of `<name>.json`.
    pub manifest: Manifest,
    /// Sizes.
    pub sizes: Sizes,
    /// Size of an instance's state.
    pub state_bytes: u64,
    /// libm functions that the kernels call, sorted.
    pub libm_calls: Vec<String>,
    /// All functions: kernels, then entry points.
    pub kernels: Vec<KernelText>,
    /// The functions in MLIR; empty unless [`Texts::Keep`] and the back end uses MLIR.
    pub mlir: String,
    /// The functions in LLVM IR; empty likewise.
    pub llvm_ir: String,
}

impl Library {
    /// The file named `name`.
    pub fn file(&self, name: &str) -> Option<&LibraryFile> {
        self.files.iter().find(|f| f.name == name)
    }

    /// The static library: `lib<name>.a`, or `<name>.lib` for Windows.
    pub fn archive(&self) -> &LibraryFile {
        &self.files[0]
    }
}

/// Compiles `program` for `target` and puts everything together that a user links and includes.
///
/// # Errors
/// See [`BackendError`].
pub fn build_library(
    program: &Program,
    target: &Target,
    backend: &dyn Backend,
    options: &LibraryOptions,
) -> Result<Library, BackendError> {
    companions::check_name(&program.name)?;
    if !backend.supports(target) {
        let (backend, target) = (backend.name(), target.name());
        return Err(BackendError::UnsupportedTarget { backend, target });
    }
    let mut image = Image::new(program, target, backend.name())?;
    let code = backend.compile(&image.code_unit(), target, options)?;
    // Sizes of the code go into the descriptor, so the data object comes second.
    image.finish_descriptor(code.code_bytes);
    let data_object = object::write_data_object(&image, target)?;

    let sizes = Sizes {
        weights: image.section_bytes(Section::Weights),
        indices: image.section_bytes(Section::Indices),
        tables: image.section_bytes(Section::Tables),
        code: code.code_bytes,
    };
    let kernels = kernel_texts(&image, &code, options.texts);
    let objects = members(&program.name, target, code.object, data_object)?;
    let name = archive::file_name(&program.name, target);
    let bytes = archive::write_archive(&name, &objects, target)?;

    let manifest = Manifest::new(program, target, backend.name(), &image, sizes);
    let mut files = vec![LibraryFile { name, bytes }];
    let linking = Linking {
        pointer_bytes: target.pointer_bytes(),
        // Windows has it in the C library.
        needs_libm: !code.libm_calls.is_empty() && target.binary_format() != BinaryFormat::Coff,
        has_weights: program.data.iter().any(|d| d.section == Section::Weights),
    };
    files.extend(companions::files(&manifest, linking));
    Ok(Library {
        name: program.name.clone(),
        files,
        objects,
        manifest,
        sizes,
        state_bytes: image.state.state_bytes,
        libm_calls: code.libm_calls,
        kernels,
        mlir: code.mlir,
        llvm_ir: code.llvm_ir,
    })
}

/// The members of the static library: one object where objects can be merged, else two.
fn members(
    name: &str,
    target: &Target,
    code: Vec<u8>,
    data: Vec<u8>,
) -> Result<Vec<LibraryFile>, BackendError> {
    let file = |name: String, bytes| LibraryFile { name, bytes };
    Ok(match target.binary_format() {
        BinaryFormat::Elf => {
            let merged = merge_objects(name, target, &[&code, &data])?;
            vec![file(format!("{name}.o"), merged)]
        }
        format => {
            let ending = if format == BinaryFormat::Coff {
                "obj"
            } else {
                "o"
            };
            vec![
                file(format!("{name}_code.{ending}"), code),
                file(format!("{name}_data.{ending}"), data),
            ]
        }
    })
}

fn kernel_texts(image: &Image<'_>, code: &CompiledCode, texts: Texts) -> Vec<KernelText> {
    let text = |i: usize| KernelText {
        name: image.functions[i].name.clone(),
        code_bytes: code.function_bytes.get(i).copied().unwrap_or(0),
        kernel_ir: match texts {
            Texts::Keep => print_function(&image.functions[i]),
            Texts::Skip => String::new(),
        },
        assembly: code.assembly.get(i).cloned().unwrap_or_default(),
    };
    (0..image.functions.len()).map(text).collect()
}
