//! Gives every value its storage and inserts the relayouts that this needs.
//!
//! ```text
//! %y = conv2d %x {..}                      %x.1 = relayout %x : .. planes(top=1, left=1, pitch=33, ..)
//!                                    =>    %y = conv2d %x.1 {..} : .. planes(..)
//! return %y                                %y.1 = relayout %y : ..        (plain: the caller's)
//! ```
//! Rules (see `condensec_ir::layout` for the layouts):
//! - A convolution reads planes with at least its padding, or strips if it is 1x1; a strided one
//!   reads phase planes, which are always a relayout, unless it has a depthwise kernel of its own.
//! - Input, result and residual of a convolution have the same row pitch, except for depthwise kernels that
//!   are strided or do without pad columns, where those would be many. Values tied this way form
//!   a class, found by union-find, whose pitch is the widest that a member needs; so a chain of
//!   convolutions runs without copies.
//! - A value that a convolution writes and only 1x1 convolutions and residual adds read is in
//!   strips, and so are pixels sliced from it for such readers; every other value of a convolution is in planes.
//! - A value that a convolution writes for a strided depthwise one alone is in bands where it is too large for
//!   the caches.
//! - Inputs and outputs of the graph are plain, and so is what a reshape or a matrix product
//!   touches. The other ops read and write plain values and planes alike.

use crate::lower::depthwise::{choose_bands, is_direct, is_packed};
use crate::lower::{strip_width, takes_pixels};
use condensec_ir::layout::{Layout, Planes, Strips};
use condensec_ir::ops::{Conv2d, Relayout, Slice};
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, NodeId, Op};
use indexmap::{IndexMap, IndexSet};

pub(crate) const NAME: &str = "choose-layouts";

/// Elements that a kernel may read past the last plane: a vector's overrun and the last row's.
const IMAGE_SLACK: usize = 64;
/// Elements of a cache line.
const LINE: usize = 16;

pub(crate) fn run(graph: &mut Graph, target: &TargetInfo) -> bool {
    let is_done = |id: &NodeId| graph.node(*id).layout != Layout::Plain;
    if graph.order().iter().any(is_done) {
        return false;
    }
    let mut inserter = Inserter {
        graph,
        n_inserted: 0,
    };
    inserter.separate_outputs();
    inserter.separate_convolution_operands();
    inserter.separate_plain_readers();
    let has_inserted = inserter.n_inserted > 0;
    let pitches = choose_pitches(graph, target.lanes);
    let strip_width = strip_width(graph, target);
    let mut has_changed = has_inserted;
    for id in graph.order() {
        let layout = choose_layout(graph, target, strip_width, &pitches, id);
        has_changed |= layout != Layout::Plain;
        graph.node_mut(id).layout = layout;
    }
    has_changed
}

/// Convolutions that read `id` as their input.
fn convolution_readers(graph: &Graph, id: NodeId) -> impl Iterator<Item = &Conv2d> {
    graph
        .users(id)
        .into_iter()
        .filter_map(|(user, position)| match &graph.node(user).op {
            Op::Conv2d(conv) if position == 0 => Some(conv),
            _ => None,
        })
}

fn is_strided(conv: &Conv2d) -> bool {
    conv.strides != [1, 1]
}

/// Phases by which a convolution reads its input's planes.
fn phases(graph: &Graph, conv: &Conv2d) -> [usize; 2] {
    if is_direct(graph, conv) {
        return [1, 1];
    }
    conv.strides
}

fn is_pointwise(graph: &Graph, conv: &Conv2d) -> bool {
    let weight = &graph.tensor(conv.weight).shape;
    weight[2..] == [1, 1] && conv.groups == 1 && conv.pads == [0; 4] && !is_strided(conv)
}

/// Whether the op can write planes: it walks rows, not storage as a whole.
fn writes_planes(op: &Op) -> bool {
    match op {
        Op::AvgPool(_)
        | Op::Binary(_)
        | Op::Concat(_)
        | Op::Conv2d(_)
        | Op::MaxPool(_)
        | Op::Pad(_)
        | Op::Relayout(_)
        | Op::Resize(_)
        | Op::Slice(_)
        | Op::Unary(_) => true,
        Op::BatchNorm(_)
        | Op::Constant(_)
        | Op::FullyConnected(_)
        | Op::Input(_)
        | Op::MatMul(_)
        | Op::Reduce(_)
        | Op::Reshape(_)
        | Op::Softmax(_)
        | Op::Transpose(_) => false,
    }
}

/// Whether the op can read planes.
fn reads_planes(op: &Op) -> bool {
    writes_planes(op) || matches!(op, Op::Reduce(_) | Op::Transpose(_))
}

struct Inserter<'a> {
    graph: &'a mut Graph,
    n_inserted: usize,
}

impl Inserter<'_> {
    fn relayout(&mut self, source: NodeId) -> NodeId {
        let (name, origin) = (
            self.graph.node(source).name.clone(),
            self.graph.node(source).origin.clone(),
        );
        self.n_inserted += 1;
        self.graph
            .add_node(&name, Op::Relayout(Relayout), &[source], origin)
            .expect("a relayout fits every value")
    }

    /// Every output gets a node of its own that writes the caller's buffer.
    fn separate_outputs(&mut self) {
        let outputs = self.graph.outputs().to_vec();
        let mut seen = IndexSet::new();
        for (position, output) in outputs.iter().enumerate() {
            let op = &self.graph.node(output.node).op;
            let is_own = !matches!(
                op,
                Op::Input(_) | Op::Constant(_) | Op::Conv2d(_) | Op::Reshape(_)
            );
            let feeds_convolution = self
                .graph
                .users(output.node)
                .iter()
                .any(|&(user, _)| matches!(self.graph.node(user).op, Op::Conv2d(_)));
            if !seen.insert(output.node) || !is_own || feeds_convolution {
                let copy = self.relayout(output.node);
                self.graph.set_output(position, copy);
            }
        }
    }

    /// What a convolution reads must be writable as planes; phase planes are a relayout, one for all
    /// readers that agree on phases.
    fn separate_convolution_operands(&mut self) {
        let mut made: IndexMap<(NodeId, [usize; 2]), NodeId> = IndexMap::new();
        for id in self.graph.order() {
            let Op::Conv2d(conv) = &self.graph.node(id).op else {
                continue;
            };
            let (phases, has_residual) = (phases(self.graph, conv), conv.residual);
            let operands = self.graph.operands(id);
            let x = operands[0];
            if phases != [1, 1] || !writes_planes(&self.graph.node(x).op) {
                let copy = match made.get(&(x, phases)) {
                    Some(&copy) => copy,
                    None => {
                        let copy = self.relayout(x);
                        made.insert((x, phases), copy);
                        copy
                    }
                };
                self.graph.set_operand(id, 0, copy);
            }
            if has_residual && !writes_planes(&self.graph.node(operands[1]).op) {
                let key = (operands[1], [1, 1]);
                let copy = match made.get(&key) {
                    Some(&copy) => copy,
                    None => {
                        let copy = self.relayout(operands[1]);
                        made.insert(key, copy);
                        copy
                    }
                };
                self.graph.set_operand(id, 1, copy);
            }
        }
    }

    /// An op that reads only plain values gets a plain copy of what a convolution writes or reads.
    fn separate_plain_readers(&mut self) {
        let mut made: IndexMap<NodeId, NodeId> = IndexMap::new();
        for id in self.graph.order() {
            if reads_planes(&self.graph.node(id).op) {
                continue;
            }
            for (position, operand) in self.graph.operands(id).into_iter().enumerate() {
                if !is_convolutional(self.graph, operand) {
                    continue;
                }
                let copy = match made.get(&operand) {
                    Some(&copy) => copy,
                    None => {
                        let copy = self.relayout(operand);
                        made.insert(operand, copy);
                        copy
                    }
                };
                self.graph.set_operand(id, position, copy);
            }
        }
    }
}

/// Whether a convolution writes or reads the value, so that it cannot be plain.
fn is_convolutional(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Conv2d(_))
        || graph
            .users(id)
            .iter()
            .any(|&(user, _)| matches!(graph.node(user).op, Op::Conv2d(_)))
}

/// Row pitch of every value of a convolution.
fn choose_pitches(graph: &Graph, lanes: usize) -> IndexMap<NodeId, usize> {
    let order = graph.order();
    let mut parent: IndexMap<NodeId, NodeId> = order.iter().map(|&id| (id, id)).collect();
    fn root(parent: &IndexMap<NodeId, NodeId>, mut id: NodeId) -> NodeId {
        while parent[&id] != id {
            id = parent[&id];
        }
        id
    }
    for &id in &order {
        if let Op::Conv2d(conv) = &graph.node(id).op {
            let operands = graph.operands(id);
            // Strided ones that read ordinary planes walk rows of both.
            let walks_rows = is_strided(conv) && phases(graph, conv) == [1, 1];
            if walks_rows || is_packed(graph, conv, [operands[0], id], lanes) {
                continue;
            }
            for operand in operands {
                let (a, b) = (root(&parent, operand), root(&parent, id));
                parent.insert(a, b);
            }
        }
    }
    let mut widest: IndexMap<NodeId, usize> = IndexMap::new();
    for &id in &order {
        if is_convolutional(graph, id) {
            let class = root(&parent, id);
            let needed = needed_pitch(graph, id, lanes);
            let pitch = widest.entry(class).or_insert(0);
            *pitch = needed.max(*pitch);
        }
    }
    let pitch = |id: NodeId| widest.get(&root(&parent, id)).copied();
    order
        .iter()
        .filter_map(|&id| Some((id, pitch(id)?)))
        .collect()
}

/// Padding that the convolutions reading `id` need, `[top, left, bottom, right]`, and the phases
/// that they read it by.
fn window_needs(graph: &Graph, id: NodeId) -> ([usize; 4], [usize; 2]) {
    let mut pads = [0; 4];
    let mut phases = [1, 1];
    for conv in convolution_readers(graph, id) {
        phases = self::phases(graph, conv);
        for (pad, wanted) in pads.iter_mut().zip(conv.pads) {
            *pad = wanted.max(*pad);
        }
    }
    (pads, phases)
}

/// Columns of padding that convolutions reading `id` need, `[left, right]`.
fn pad_columns(graph: &Graph, id: NodeId, lanes: usize) -> [usize; 2] {
    let mut columns = [0; 2];
    for (user, position) in graph.users(id) {
        match &graph.node(user).op {
            Op::Conv2d(conv) if position == 0 && !is_packed(graph, conv, [id, user], lanes) => {
                columns = [columns[0].max(conv.pads[1]), columns[1].max(conv.pads[3])];
            }
            _ => {}
        }
    }
    columns
}

fn needed_pitch(graph: &Graph, id: NodeId, lanes: usize) -> usize {
    let width = graph.node(id).shape[3];
    let (_, phases) = window_needs(graph, id);
    let [left, right] = pad_columns(graph, id, lanes);
    match phases {
        // The left padding of a row is the right padding of the one above.
        [1, 1] => width + left.max(right),
        [_, sw] => (width + left + right).div_ceil(sw),
    }
}

fn choose_layout(
    graph: &Graph,
    target: &TargetInfo,
    strip_width: usize,
    pitches: &IndexMap<NodeId, usize>,
    id: NodeId,
) -> Layout {
    if !is_convolutional(graph, id) || matches!(graph.node(id).op, Op::Constant(_) | Op::Input(_)) {
        return Layout::Plain;
    }
    let pitch = pitches[&id];
    let shape = &graph.node(id).shape;
    let (channels, h, w) = (shape[1], shape[2], shape[3]);
    if fits_strips(graph, id) {
        let n_strips = ((h - 1) * pitch + w).div_ceil(strip_width);
        return Layout::Strips(Strips {
            pitch,
            width: strip_width,
            image: n_strips * channels * strip_width,
        });
    }
    if let Some(bands) = choose_bands(graph, target, pitch, id) {
        return Layout::Bands(bands);
    }
    let ([top, left, bottom, _], phases) = window_needs(graph, id);
    let rows = (top + h + bottom).div_ceil(phases[0]);
    // A tile that writes the last pixels may run past them by less than a cache line.
    let last_write = top * pitch + left + (h - 1) * pitch + w + LINE;
    let plane = (rows * pitch + left).max(if phases == [1, 1] { last_write } else { 0 });
    // An odd number of cache lines, so that the planes' starts spread over the cache sets.
    let mut lines = plane.div_ceil(LINE);
    lines += usize::from(lines.is_multiple_of(2));
    let plane = lines * LINE;
    let image = channels * phases[0] * phases[1] * plane + IMAGE_SLACK;
    Layout::Planes(Planes {
        phases,
        top,
        left,
        pitch,
        rows,
        plane,
        image,
    })
}

/// Written by a convolution, or pixels of such strips; read only by 1x1 convolutions, as a residual, or
/// for pixels that fit strips.
fn fits_strips(graph: &Graph, id: NodeId) -> bool {
    match &graph.node(id).op {
        Op::Conv2d(_) => all_read_strips(graph, id),
        Op::Slice(slice) => {
            let operand = graph.operands(id)[0];
            let is_convolution = matches!(graph.node(operand).op, Op::Conv2d(_));
            is_convolution
                && takes_pixels_to_strips(graph, id, slice)
                && all_read_strips(graph, operand)
        }
        _ => false,
    }
}

fn all_read_strips(graph: &Graph, id: NodeId) -> bool {
    let reads = |&(user, position): &(NodeId, usize)| match &graph.node(user).op {
        Op::Slice(slice) => takes_pixels_to_strips(graph, user, slice),
        _ => reads_strips(graph, user, position),
    };
    let users = graph.users(id);
    !users.is_empty() && users.iter().all(reads)
}

/// Whether the slice `id` can read strips, and those who read it do, too.
fn takes_pixels_to_strips(graph: &Graph, id: NodeId, slice: &Slice) -> bool {
    let operand = graph.operands(id)[0];
    let users = graph.users(id);
    let all_read = || {
        users
            .iter()
            .all(|&(user, position)| reads_strips(graph, user, position))
    };
    takes_pixels(slice, &graph.node(operand).shape) && !users.is_empty() && all_read()
}

/// Whether a convolution reads its operand at `position` from strips as well as from planes.
fn reads_strips(graph: &Graph, user: NodeId, position: usize) -> bool {
    match &graph.node(user).op {
        Op::Conv2d(conv) => position == 1 || is_pointwise(graph, conv),
        _ => false,
    }
}
