//! Graph to text.

use super::lexer::is_name;
use crate::graph::{Graph, Node, NodeId};
use crate::layout::Layout;
use crate::ops::{Attribute, Attributes};
use crate::sparsity::LevelMask;
use crate::tensor::{LevelRule, Tensor};
use std::fmt::{Display, Write};

/// What [`print_graph_with`] leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrintOptions {
    /// Lists of a tensor with more elements than this are printed as their count and a hash, so that
    /// a dump stays readable; such a text cannot be parsed. Without a limit everything is printed.
    pub max_elems: Option<usize>,
}

/// Elements on one line of a long list: with typical weights about 150 characters.
const ELEMS_PER_LINE: usize = 16;

/// The whole graph as text; [`super::parse_graph`] reads it back.
pub fn print_graph(graph: &Graph) -> String {
    print_graph_with(graph, PrintOptions::default())
}

/// The graph as text for people: `options` say what may be left out.
pub fn print_graph_with(graph: &Graph, options: PrintOptions) -> String {
    let mut out = format!("graph {}", name('@', &graph.name));
    if graph.n_levels != 1 {
        put(&mut out, format_args!(" levels({})", graph.n_levels));
    }
    if !graph.level_names.is_empty() {
        let names = graph.level_names.iter().map(|name| format!("{name:?}"));
        put(&mut out, format_args!(" names({})", join(names)));
    }
    let inputs = graph.inputs().iter().map(|&input| {
        let node = graph.node(input);
        format!("{}: {}", name('%', &node.name), typed(node))
    });
    let outputs = graph.outputs().iter().map(|output| {
        let value = graph.node(output.node).name.as_str();
        match output.name == value {
            true => name('%', value),
            false => format!("{} as {:?}", name('%', value), output.name),
        }
    });
    put(
        &mut out,
        format_args!(" ({}) -> ({}) {{\n", join(inputs), join(outputs)),
    );
    for tensor in graph.tensors() {
        print_tensor(&mut out, tensor, graph.n_levels, options);
    }
    for id in graph.order() {
        if !graph.inputs().contains(&id) {
            print_node(&mut out, graph, id);
        }
    }
    out.push_str("}\n");
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

fn join(parts: impl Iterator<Item = impl Display>) -> String {
    parts
        .map(|part| part.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn name(sigil: char, name: &str) -> String {
    match !name.is_empty() && name.chars().all(is_name) {
        true => format!("{sigil}{name}"),
        false => format!("{sigil}{name:?}"),
    }
}

/// Number of an attribute: always looks like a float.
fn float(value: f32) -> String {
    match value.is_nan() {
        true => "nan".into(),
        false => format!("{value:?}"),
    }
}

/// Number of a tensor: `1` rather than `1.0`.
fn element(value: &f32) -> String {
    let text = float(*value);
    text.strip_suffix(".0").map(String::from).unwrap_or(text)
}

fn typed(node: &Node) -> String {
    let shape = format!("f32[{}]", join(node.shape.iter()));
    match &node.layout {
        Layout::Plain => shape,
        Layout::Planes(planes) => format!(
            "{shape} planes(phases={:?}, top={}, left={}, pitch={}, rows={}, plane={}, image={})",
            planes.phases,
            planes.top,
            planes.left,
            planes.pitch,
            planes.rows,
            planes.plane,
            planes.image
        ),
        Layout::Strips(strips) => format!(
            "{shape} strips(pitch={}, width={}, image={})",
            strips.pitch, strips.width, strips.image
        ),
        Layout::Bands(bands) => format!(
            "{shape} bands(result_rows={}, parts={}, front={}, left={}, pitch={}, rows={}, plane={}, image={})",
            bands.result_rows,
            bands.parts,
            bands.front,
            bands.left,
            bands.pitch,
            bands.rows,
            bands.plane,
            bands.image
        ),
    }
}

fn print_node(out: &mut String, graph: &Graph, id: NodeId) {
    let node = graph.node(id);
    put(
        out,
        format_args!("  {} = {}", name('%', &node.name), node.op.mnemonic()),
    );
    let operands: Vec<String> = graph
        .operands(id)
        .iter()
        .map(|&operand| name('%', &graph.node(operand).name))
        .collect();
    if !operands.is_empty() {
        put(out, format_args!(" {}", operands.join(", ")));
    }
    let attributes: Attributes = node.op.attributes();
    if !attributes.is_empty() {
        let attributes = attributes
            .iter()
            .map(|(key, value)| attribute(graph, key, value));
        put(out, format_args!(" {{{}}}", join(attributes)));
    }
    put(out, format_args!(" : {}\n", typed(node)));
}

fn attribute(graph: &Graph, key: &str, value: &Attribute) -> String {
    match value {
        Attribute::Int(value) => format!("{key}={value}"),
        Attribute::Ints(values) => format!("{key}=[{}]", join(values.iter())),
        Attribute::Float(value) => format!("{key}={}", float(*value)),
        Attribute::Floats(values) => {
            format!("{key}=[{}]", join(values.iter().map(|&value| float(value))))
        }
        Attribute::Word(word) => format!("{key}={word}"),
        Attribute::Tensor(id) => match graph.tensors().get(id.0 as usize) {
            Some(tensor) => format!("{key}={}", name('@', &tensor.name)),
            // Only in a dump of a graph that the verifier rejects.
            None => format!("{key}=@missing.{}", id.0),
        },
        Attribute::Call(function, arguments) if arguments.is_empty() => format!("{key}={function}"),
        Attribute::Call(function, arguments) => {
            format!(
                "{key}={function}({})",
                join(arguments.iter().map(|&value| float(value)))
            )
        }
        Attribute::Flag => key.to_string(),
    }
}

fn print_tensor(out: &mut String, tensor: &Tensor, n_levels: u32, options: PrintOptions) {
    let shape = join(tensor.shape.iter());
    put(
        out,
        format_args!("  tensor {} : f32[{shape}] =", name('@', &tensor.name)),
    );
    let bits = |value: &f32| value.to_bits().to_le_bytes();
    match &tensor.rule {
        LevelRule::Shared => print_list(out, &tensor.data, element, bits, options),
        LevelRule::Masked(mask) => {
            print_list(out, &tensor.data, element, bits, options);
            print_mask(out, mask, tensor.shape.len(), options);
        }
        LevelRule::PerLevel if tensor.n_elems() == 0 => {
            put(
                out,
                format_args!(" per_level{}", " []".repeat(n_levels as usize)),
            );
        }
        LevelRule::PerLevel => {
            out.push_str(" per_level");
            for level in tensor.data.chunks(tensor.n_elems()) {
                print_list(out, level, element, bits, options);
            }
        }
    }
    out.push('\n');
}

fn print_mask(out: &mut String, mask: &LevelMask, rank: usize, options: PrintOptions) {
    out.push_str(" level");
    print_list(out, mask.values(), u8::to_string, |value| [*value], options);
    if mask.block() != vec![1; rank] {
        put(out, format_args!(" block {:?}", mask.block()));
    }
}

fn print_list<T, const N: usize>(
    out: &mut String,
    values: &[T],
    print: impl Fn(&T) -> String,
    bytes: impl Fn(&T) -> [u8; N],
    options: PrintOptions,
) {
    if options.max_elems.is_some_and(|max| values.len() > max) {
        let hash = fnv64(values.iter().flat_map(bytes));
        put(
            out,
            format_args!(" elided({}, \"{hash:016x}\")", values.len()),
        );
        return;
    }
    if values.len() <= ELEMS_PER_LINE {
        put(out, format_args!(" [{}]", join(values.iter().map(print))));
        return;
    }
    out.push_str(" [\n");
    for line in values.chunks(ELEMS_PER_LINE) {
        put(
            out,
            format_args!("    {},\n", join(line.iter().map(&print))),
        );
    }
    out.push_str("  ]");
}

/// Fowler-Noll-Vo hash, variant 1a: tells people whether two elided lists are equal.
fn fnv64(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
