//! A program made ready for code generation: final symbol names, entry points, descriptor tables.
//!
//! Kernels become `<model>__<kernel>` and data `<model>__<name>`, all hidden, so that two libraries
//! of this compiler can be linked into one program. Weights and other large data are borrowed from
//! the program, never copied.

use crate::descriptor::{self, DescriptorFields, TableData, Tables};
use crate::entry_points::{self, Context, StateLayout};
use crate::{BackendError, CodeUnit, Target};
use condensec_ir::kernel::{
    Argument, Data, DataId, Expr, Function, FunctionId, Program, Section, Statement, Symbol,
    verify_function,
};
use std::collections::{BTreeSet, HashSet};

/// See the module.
#[derive(Debug)]
pub struct Image<'a> {
    /// Name of the model.
    pub name: &'a str,
    /// Kernels of the program under their symbol names, then the entry points.
    pub functions: Vec<Function>,
    /// Data that belongs to the program.
    pub program_data: &'a [Data],
    /// Tables made here; their ids go on from the program's.
    pub tables: Vec<Data>,
    /// Symbol names of all data.
    pub data_symbols: Vec<String>,
    /// Layout of an instance's state.
    pub state: StateLayout,
    /// Number of functions that are kernels of the program.
    pub n_kernels: usize,
    ids: Tables,
}

impl<'a> Image<'a> {
    /// Prepares `program` for `target` and a back end named `backend`.
    ///
    /// # Errors
    /// [`BackendError::BadProgram`] if the program contradicts itself, [`BackendError::TooLarge`] if
    /// it exceeds the target's address space.
    pub fn new(program: &'a Program, target: &Target, backend: &str) -> Result<Self, BackendError> {
        check_program(program)?;
        let pointer_bytes = target.pointer_bytes();
        let state = StateLayout::new(program, pointer_bytes);
        let n_kernels = program.functions.len();
        let entry_point = |i: usize| FunctionId((n_kernels + i) as u32);
        let fields = DescriptorFields {
            target: target.triple(),
            cpu: target.cpu(),
            backend,
            pointer_bytes,
            state_bytes: state.state_bytes,
            arena_offset: state.arena_offset,
            entry_points: [0, 1, 2, 3, 4, 5].map(entry_point),
        };
        let mut tables = TableData::new(program);
        let ids = descriptor::add_tables(program, &fields, &mut tables)?;
        let context = Context {
            program,
            pointer_bytes,
            steps: ids.steps,
            model: ids.model,
        };

        let mut functions = program.functions.clone();
        for function in functions.iter_mut().filter(|f| !f.is_exported) {
            function.name = format!("{}__{}", program.name, function.name);
        }
        functions.extend(entry_points::build(&context));
        let tables = tables.into_data();
        let data_symbols = program
            .data
            .iter()
            .chain(&tables)
            .map(|data| match data.is_exported {
                true => data.name.clone(),
                false => format!("{}__{}", program.name, data.name),
            });
        let image = Self {
            name: &program.name,
            functions,
            program_data: &program.data,
            data_symbols: data_symbols.collect(),
            tables,
            state,
            n_kernels,
            ids,
        };
        image.check_symbols()?;
        image.check_sizes(target)?;
        Ok(image)
    }

    /// What a code generator gets.
    pub fn code_unit(&self) -> CodeUnit<'_> {
        CodeUnit {
            name: self.name,
            functions: &self.functions,
            data_symbols: &self.data_symbols,
        }
    }

    /// All data in the order of their ids.
    pub fn data(&self) -> impl Iterator<Item = &Data> {
        self.program_data.iter().chain(&self.tables)
    }

    /// Symbol name of a function or data object.
    pub fn symbol_name(&self, symbol: Symbol) -> &str {
        match symbol {
            Symbol::Function(id) => &self.functions[id.0 as usize].name,
            Symbol::Data(id, _) => &self.data_symbols[id.0 as usize],
        }
    }

    /// Bytes of all data in `section`.
    pub fn section_bytes(&self, section: Section) -> u64 {
        self.data()
            .filter(|d| d.section == section)
            .map(|d| d.bytes.len() as u64)
            .sum()
    }

    /// Writes the sizes into the descriptor that are known only after code generation.
    pub fn finish_descriptor(&mut self, code_bytes: u64) {
        let table_bytes = self.section_bytes(Section::Tables);
        let DataId(model) = self.ids.model;
        let model = &mut self.tables[model as usize - self.program_data.len()].bytes;
        let late = self.ids.late_fields;
        for (at, value) in [
            (late.table_bytes, table_bytes),
            (late.code_bytes, code_bytes),
        ] {
            model[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }

    fn check_sizes(&self, target: &Target) -> Result<(), BackendError> {
        let most = match target.pointer_bytes() {
            4 => u64::from(u32::MAX),
            _ => return Ok(()),
        };
        let data: u64 = self.data().map(|d| d.bytes.len() as u64).sum();
        let sizes = [
            ("the weights and tables", data),
            ("the activations", self.state.state_bytes),
        ];
        match sizes.into_iter().find(|&(_, bytes)| bytes > most) {
            None => Ok(()),
            Some((what, bytes)) => Err(BackendError::TooLarge {
                what,
                bytes,
                target: target.name(),
            }),
        }
    }

    fn check_symbols(&self) -> Result<(), BackendError> {
        let mut seen = HashSet::new();
        let names = self
            .functions
            .iter()
            .map(|f| &f.name)
            .chain(&self.data_symbols);
        for name in names {
            if !seen.insert(name.as_str()) {
                return Err(bad(self.name, format!("two symbols are named {name}")));
            }
        }
        Ok(())
    }
}

fn bad(program: &str, message: String) -> BackendError {
    BackendError::BadProgram {
        program: program.into(),
        message,
    }
}

/// Every symbol exists and every relocation lies inside its data, so that nothing later can panic.
fn check_program(program: &Program) -> Result<(), BackendError> {
    let check = |at: &str, symbol: Symbol| match symbol {
        Symbol::Function(FunctionId(i)) if i as usize >= program.functions.len() => Err(bad(
            &program.name,
            format!("{at} refers to function {i}, which does not exist"),
        )),
        Symbol::Data(DataId(i), _) if i as usize >= program.data.len() => Err(bad(
            &program.name,
            format!("{at} refers to data {i}, which does not exist"),
        )),
        _ => Ok(()),
    };
    for data in &program.data {
        let message = |what: &str| bad(&program.name, format!("data {}: {what}", data.name));
        if !data.align.is_power_of_two() {
            return Err(message("alignment is no power of two"));
        }
        if !data.relocations.is_sorted_by(|a, b| a.offset < b.offset) {
            return Err(message("relocations are not in order"));
        }
        for relocation in &data.relocations {
            check(&data.name, relocation.target)?;
            if relocation.offset.saturating_add(4) > data.bytes.len() as u64 {
                return Err(message("relocation outside"));
            }
        }
    }
    for step in program.steps.iter().flatten() {
        check(&step.node, Symbol::Function(step.kernel))?;
        for argument in &step.arguments {
            if let Argument::Address(symbol) = *argument {
                check(&step.node, symbol)?;
            }
        }
    }
    for function in &program.functions {
        verify_function(function).map_err(|message| bad(&program.name, message))?;
        addresses(&function.body).try_for_each(|symbol| check(&function.name, symbol))?;
    }
    Ok(())
}

/// Ids of the data that `functions` take the address of.
pub(crate) fn named_data(functions: &[Function]) -> BTreeSet<u32> {
    let symbols = functions.iter().flat_map(|f| addresses(&f.body));
    let ids = symbols.filter_map(|symbol| match symbol {
        Symbol::Data(DataId(id), _) => Some(id),
        Symbol::Function(_) => None,
    });
    ids.collect()
}

/// All symbols that `block` takes the address of.
fn addresses(block: &[Statement]) -> Box<dyn Iterator<Item = Symbol> + '_> {
    Box::new(block.iter().flat_map(|statement| match statement {
        Statement::Let {
            expr: Expr::Address(symbol),
            ..
        } => Box::new(std::iter::once(*symbol)),
        Statement::For { body, .. } => addresses(body),
        Statement::If {
            then, otherwise, ..
        } => Box::new(addresses(then).chain(addresses(otherwise))),
        _ => Box::new(std::iter::empty()) as Box<dyn Iterator<Item = Symbol>>,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec_ir::kernel::{LevelSummary, Step};

    fn program() -> Program {
        let level = LevelSummary {
            name: "L0".into(),
            density: 1.0,
            macs: 0,
            weight_bytes: 0,
            predicted_cycles: 0,
        };
        Program {
            name: "m".into(),
            functions: vec![condensec_ir::kernel::FunctionBuilder::new("k", &[]).finish()],
            data: Vec::new(),
            steps: vec![Vec::new()],
            levels: vec![level],
            layers: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            arena_bytes: 64,
        }
    }

    /// What `program` is refused with on a target of 32 bits, which one of 64 bits takes.
    fn refused(program: &Program) -> String {
        let image = |target| {
            let target = crate::targets::resolve(target, None, &[] as &[&str]).unwrap();
            Image::new(program, &target, "b").map(|_| ())
        };
        image("aarch64").unwrap();
        image("armv7a").unwrap_err().to_string()
    }

    #[test]
    fn what_exceeds_32_bits_is_refused() {
        let mut program = program();
        program.arena_bytes = 1 << 32;
        assert_eq!(
            refused(&program),
            "the activations take 4294967360 bytes, more than armv7a can address"
        );
        program.arena_bytes = 64;
        program.steps[0].push(Step {
            kernel: FunctionId(0),
            arguments: vec![Argument::Index(1 << 32)],
            n_tasks: 1,
            node: "k".into(),
            predicted_cycles: 2,
        });
        assert_eq!(
            refused(&program),
            "program \"m\": Index(4294967296) does not fit 32 bits"
        );
    }
}
