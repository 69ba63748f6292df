//! Structure of a graph of the file: who makes which tensor, and in which order nodes can be
//! imported.
//!
//! ONNX asks for nodes in topological order and for one maker of every name. Files that break the
//! first rule are put in order; other faults are diagnostics, all of them at once.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use condensec_ir::Diagnostic;

use super::node_view::node_name;
use crate::frontend::onnx::proto::{GraphProto, NodeProto};

/// Positions of `nodes` in an order in which every node comes after those it reads from; the file's
/// own order where it can be kept. `is_defined` says which names exist before the first node.
/// `None` after an error.
pub fn execution_order(
    nodes: &[NodeProto],
    is_defined: &dyn Fn(&str) -> bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<usize>> {
    let n_before = diagnostics.len();
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (position, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            let is_taken = is_defined(output) || makers.insert(output, position).is_some();
            if is_taken {
                diagnostics.push(
                    at(
                        node,
                        "duplicate-name",
                        format!("tensor `{output}` is made more than once"),
                    )
                    .at_tensor(output)
                    .with_help(
                        "every tensor name of a graph has one maker: a node, an input \
                         or an initializer",
                    ),
                );
            }
        }
    }

    let mut n_missing = vec![0usize; nodes.len()];
    let mut users: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes.len()];
    for (position, node) in nodes.iter().enumerate() {
        for name in reads(node) {
            match makers.get(name) {
                Some(&maker) => {
                    if users[maker].insert(position) {
                        n_missing[position] += 1;
                    }
                }
                None if is_defined(name) => {}
                None => diagnostics.push(
                    at(
                        node,
                        "undefined-tensor",
                        format!("no node, input or initializer makes `{name}`"),
                    )
                    .at_tensor(name),
                ),
            }
        }
    }
    if diagnostics.len() > n_before {
        return None;
    }

    // The smallest position first, so that an ordered file stays as it is.
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes.len())
        .filter(|&position| n_missing[position] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(position)) = ready.pop() {
        order.push(position);
        for &user in &users[position] {
            n_missing[user] -= 1;
            if n_missing[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    if order.len() < nodes.len() {
        diagnostics.push(cycle(nodes, &makers, &order));
        return None;
    }
    if let Some(early) = (0..order.len()).find(|&at| order[at] != at) {
        diagnostics.push(
            Diagnostic::warning(
                "not-topologically-sorted",
                "the nodes are not in topological order, as ONNX asks; they have been sorted",
            )
            .at_node(node_name(&nodes[early]), nodes[early].op_type()),
        );
    }
    Some(order)
}

/// Names that a node reads, those its subgraphs take from outside included, each once, in order.
pub fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    collect_reads(node, &mut |name| {
        if seen.insert(name) {
            names.push(name);
        }
    });
    names
}

fn collect_reads<'m>(node: &'m NodeProto, read: &mut dyn FnMut(&'m str)) {
    for name in node.input.iter().filter(|name| !name.is_empty()) {
        read(name);
    }
    for attribute in &node.attribute {
        for body in attribute.g.as_deref().into_iter().chain(&attribute.graphs) {
            let inner = names_made_in(body);
            let mut outer = |name: &'m str| {
                if !inner.contains(name) {
                    read(name);
                }
            };
            for node in &body.node {
                collect_reads(node, &mut outer);
            }
            for output in &body.output {
                outer(output.name());
            }
        }
    }
}

/// Names that a subgraph does not take from outside.
fn names_made_in(body: &GraphProto) -> HashSet<&str> {
    let sparse = body
        .sparse_initializer
        .iter()
        .filter_map(|tensor| tensor.values.as_ref());
    let inputs = body.input.iter().map(|input| input.name());
    let constants = body
        .initializer
        .iter()
        .chain(sparse)
        .map(|tensor| tensor.name());
    let results = body
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(String::as_str));
    inputs.chain(constants).chain(results).chain([""]).collect()
}

/// Names one cycle among the nodes that are not in `order`.
fn cycle(nodes: &[NodeProto], makers: &HashMap<&str, usize>, order: &[usize]) -> Diagnostic {
    let ordered: HashSet<usize> = order.iter().copied().collect();
    let start = (0..nodes.len())
        .find(|position| !ordered.contains(position))
        .unwrap_or(0);
    // Every node that is left reads from another such node: walking back must meet itself.
    let mut path = vec![start];
    let first = loop {
        let last = path[path.len() - 1];
        let before = reads(&nodes[last])
            .into_iter()
            .filter_map(|name| makers.get(name).copied())
            .find(|maker| !ordered.contains(maker));
        match before {
            None => break 0,
            Some(maker) => match path.iter().position(|&seen| seen == maker) {
                Some(first) => break first,
                None => path.push(maker),
            },
        }
    };
    let names: Vec<String> = path[first..]
        .iter()
        .rev()
        .map(|&at| format!("`{}`", node_name(&nodes[at])))
        .collect();
    let node = &nodes[path[first]];
    at(
        node,
        "cyclic-graph",
        format!("{} nodes wait for their own result", names.len()),
    )
    .with_note(format!("the cycle is {}", names.join(" -> ")))
}

fn at(node: &NodeProto, code: &'static str, message: String) -> Diagnostic {
    Diagnostic::error(code, message).at_node(node_name(node), node.op_type())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::onnx::proto::{AttributeProto, DataType, ValueInfoProto};

    fn node(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto::new("Relu", name, inputs, outputs, vec![])
    }

    fn order(nodes: &[NodeProto]) -> (Option<Vec<usize>>, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let order = execution_order(nodes, &|name| name == "x", &mut diagnostics);
        (order, diagnostics)
    }

    #[test]
    fn an_ordered_file_keeps_its_order() {
        let nodes = [
            node("a", &["x"], &["1"]),
            node("b", &["x"], &["2"]),
            node("c", &["1", "2"], &["3"]),
        ];
        assert_eq!(order(&nodes), (Some(vec![0, 1, 2]), vec![]));
    }

    #[test]
    fn other_files_are_sorted_with_a_warning() {
        let nodes = [
            node("b", &["1"], &["2"]),
            node("a", &["x"], &["1"]),
            node("c", &["2"], &["3"]),
        ];
        let (order, diagnostics) = order(&nodes);
        assert_eq!(order.unwrap(), [1, 0, 2]);
        assert_eq!(diagnostics[0].code, "not-topologically-sorted");
        assert_eq!(diagnostics[0].at.node.as_deref(), Some("b"));
    }

    #[test]
    fn faults_are_all_reported() {
        let nodes = [
            node("a", &["x"], &["1"]),
            node("b", &["u"], &["1"]),
            node("c", &["v"], &["x"]),
        ];
        let codes: Vec<&str> = order(&nodes).1.iter().map(|d| d.code).collect();
        assert_eq!(
            codes,
            [
                "duplicate-name",
                "duplicate-name",
                "undefined-tensor",
                "undefined-tensor"
            ]
        );
    }

    #[test]
    fn a_cycle_is_named() {
        let nodes = [
            node("a", &["x"], &["1"]),
            node("b", &["1", "4"], &["2"]),
            node("c", &["2"], &["3"]),
            node("d", &["3"], &["4"]),
            node("e", &["4"], &["5"]),
        ];
        let (order, diagnostics) = order(&nodes);
        assert_eq!(order, None);
        assert_eq!(diagnostics[0].code, "cyclic-graph");
        assert_eq!(diagnostics[0].notes, ["the cycle is `c` -> `d` -> `b`"]);
        assert_eq!(
            self::order(&[node("a", &["1"], &["1"])]).1[0].code,
            "cyclic-graph"
        );
    }

    #[test]
    fn a_subgraph_reads_what_it_does_not_make() {
        let body = GraphProto {
            node: vec![
                node("inner", &["outer"], &["made"]),
                node("next", &["made"], &["result"]),
            ],
            output: vec![ValueInfoProto::tensor("result", DataType::Float, [1])],
            ..Default::default()
        };
        let outer = NodeProto::new(
            "If",
            "if",
            &["c"],
            &["y"],
            vec![AttributeProto::graph("then_branch", body)],
        );
        assert_eq!(reads(&outer), ["c", "outer"]);
    }
}
