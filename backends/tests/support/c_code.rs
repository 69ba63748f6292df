//! A stand-in for a code generator: one program whose code the target's C compiler makes.
//!
//! Its objects have the shape that code generators give theirs (hidden functions, references to data
//! of another object, libm) and what compilers add (Arm's attributes and unwind tables, addends in
//! the instructions, mapping symbols), so they show that objects of every target come together, also
//! where this build has no code generator.

use super::loaded;
use super::programs::{add_step, empty, floats, kernel, port};
use condensec_backends::{Backend, BackendError, CodeUnit, CompiledCode, LibraryOptions, Target};
use condensec_ir::kernel::{
    Argument, Data, DataId, FunctionBuilder, MemoryType, Program, Relocation, Section, Symbol,
    Value,
};
use std::path::PathBuf;
use std::process::Command;

/// `y[i] = sqrt(factor[level] * x[i] + bias[0]) + bias[1]` on vectors of 3, as kernel IR. `bias[0]` is
/// reached by a pointer in a table, `bias[1]` by an address in the code.
pub fn program(pointer_bytes: usize) -> Program {
    let p = pointer_bytes;
    let mut program = empty("plain", 2);
    program.inputs.push(port("x", &[3]));
    program.outputs.push(port("y", &[3]));
    let factors = program.add_data(floats("factors", Section::Weights, &[2.0, 3.0]));
    let bias = program.add_data(floats("bias", Section::Tables, &[0.5, 0.25]));
    let pointers = program.add_data(Data {
        name: "pointers".into(),
        is_exported: false,
        section: Section::Tables,
        align: 8,
        bytes: vec![0; 2 * p],
        relocations: vec![Relocation {
            offset: p as u64,
            target: Symbol::Data(bias, 0),
        }],
    });
    let code = kernel("scale", |f, [bases, arguments, ..]| {
        let [x, y] = [p, 2 * p].map(|at| f.load(MemoryType::Ptr, bases, at));
        let [factor, table] = [0, p].map(|at| f.load(MemoryType::Ptr, arguments, at));
        let factor = f.load(MemoryType::F32, factor, 0);
        let indirect = f.load(MemoryType::Ptr, table, p);
        let indirect = f.load(MemoryType::F32, indirect, 0);
        let direct = f.address(Symbol::Data(bias, 4));
        let direct = f.load(MemoryType::F32, direct, 0);
        f.for_range(3, |f, i| {
            let [x, y] = [x, y].map(|array| f.ptr_offset(array, i, 4));
            let value = element(f, x, [factor, indirect, direct]);
            f.store(MemoryType::F32, value, y, 0);
        });
    });
    let arguments = [
        Argument::Address(Symbol::Data(factors, 0)),
        Argument::Address(Symbol::Data(pointers, 0)),
    ];
    add_step(&mut program, code, &arguments);
    program.steps[1][0].arguments[0] = Argument::Address(Symbol::Data(DataId(0), 4));
    program
}

fn element(f: &mut FunctionBuilder, x: Value, [factor, first, second]: [Value; 3]) -> Value {
    let x = f.load(MemoryType::F32, x, 0);
    let product = f.fmul(factor, x);
    let sum = f.fadd(product, first);
    let root = f.call_libm("sqrtf", &[sum]);
    f.fadd(root, second)
}

/// What [`program`] computes.
pub fn expected(x: [f32; 3], level: usize) -> Vec<f32> {
    let factor = [2.0, 3.0][level];
    x.map(|x| (factor * x + 0.5f32).sqrt() + 0.25).to_vec()
}

/// [`program`] and the entry points in C. Symbols have two underscores before what is internal.
const SOURCE: &str = r#"
#include <stddef.h>
#include <stdint.h>
#ifdef _WIN32
#define HIDDEN
#else
#define HIDDEN __attribute__((visibility("hidden")))
#endif

typedef struct { int32_t level; uint32_t magic; void *bases[3]; } state;
typedef void kernel(void *const *, const void *, size_t, size_t);
typedef struct { kernel *run; const void *arguments; const char *node; size_t n_tasks; } step;

HIDDEN extern const float plain__bias[];
HIDDEN extern const step plain__steps[];
HIDDEN extern const char plain__descriptor[];
float sqrtf(float);

enum { OK, BAD_LEVEL, BAD_MEMORY, BAD_POINTER, MAGIC = 0x31646e63 };

HIDDEN void plain__scale(void *const *bases, const void *arguments, size_t begin, size_t end)
{
    const float *x = bases[1], *factor = *(const float *const *)arguments;
    const float *const *pointers = ((const float *const *const *)arguments)[1];
    float *y = bases[2];
    int i;
    (void)begin, (void)end;
    for (i = 0; i < 3; i++)
        y[i] = sqrtf(factor[0] * x[i] + pointers[1][0]) + plain__bias[1];
}

int plain_init(void *memory, size_t bytes, state **out)
{
    if (!memory || !out)
        return BAD_POINTER;
    if ((uintptr_t)memory % 64 || bytes < sizeof **out)
        return BAD_MEMORY;
    *out = memory;
    (*out)->level = 1;
    (*out)->magic = MAGIC;
    return OK;
}

int plain_set_level(state *s, uint32_t level)
{
    if (level > 1)
        return BAD_LEVEL;
    s->level = level;
    return OK;
}

uint32_t plain_level(const state *s)
{
    return s ? s->level : 0xffffffffu;
}

int plain_run(state *s, const void *const *inputs, void *const *outputs)
{
    const step *now = plain__steps + s->level;
    s->bases[1] = (void *)inputs[0];
    s->bases[2] = outputs[0];
    now->run(s->bases, now->arguments, 0, now->n_tasks);
    return OK;
}

/* One task: nothing to share out. */
int plain_run_parallel(state *s, const void *const *inputs, void *const *outputs, void (*parallel_for)(void), void *pool)
{
    (void)parallel_for;
    (void)pool;
    return plain_run(s, inputs, outputs);
}

/* One step: nothing to choose. */
int plain_run_adaptive(state *s, const void *const *inputs, void *const *outputs, void (*choose)(void), void *context)
{
    (void)choose;
    (void)context;
    return plain_run(s, inputs, outputs);
}

const void *plain_model(void)
{
    return plain__descriptor;
}
"#;

/// See the module. It compiles [`program`] and nothing else.
pub struct CCompiler {
    /// Of the target.
    pub path: PathBuf,
}

impl Backend for CCompiler {
    fn name(&self) -> &'static str {
        "c"
    }

    fn supports(&self, _: &Target) -> bool {
        true
    }

    fn compile(
        &self,
        unit: &CodeUnit<'_>,
        target: &Target,
        _: &LibraryOptions,
    ) -> Result<CompiledCode, BackendError> {
        assert_eq!(unit.name, "plain");
        let folder = tempfile::tempdir().unwrap();
        let [source, object] = ["plain.c", "plain.o"].map(|name| folder.path().join(name));
        std::fs::write(&source, SOURCE).unwrap();
        let mut command = Command::new(&self.path);
        // No call becomes an instruction, so that libm stays open.
        command.args(["-O2", "-fno-builtin", "-fno-stack-protector", "-c"]);
        if !target.is_bare_metal() {
            command.arg("-fPIC");
        }
        if target.name() == "riscv64" {
            // Relaxation asks for relocations without a symbol.
            command.arg("-mno-relax");
        }
        command.args(target.c_options()).arg(&source);
        loaded::run(command.arg("-o").arg(&object));
        Ok(CompiledCode {
            object: std::fs::read(&object).unwrap(),
            code_bytes: 0,
            function_bytes: vec![0; unit.functions.len()],
            assembly: Vec::new(),
            mlir: String::new(),
            llvm_ir: String::new(),
            libm_calls: vec!["sqrtf".into()],
        })
    }
}
