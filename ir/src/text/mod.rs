//! The text form of the graph IR (`.cir` files): `parse_graph(print_graph(g))` is `g` again.
//!
//! ```text
//! graph @prefix levels(2) names("small", "full") (%x: f32[1, 2]) -> (%y as "logits") {
//!   tensor @fc : f32[4, 2] = [1, 2, 3, 4, 5, 6, 7, 8] level [0, 0, 0, 0, 1, 1, 1, 1] block [2, 2]
//!   tensor @bias : f32[4] = per_level [0, 0, 0, 0] [1, 2, 3, 4]
//!   %y = fully_connected %x {weight=@fc, bias=@bias, activation=relu} : f32[1, 4]  ; a comment
//! }
//! ```
//! - A graph without `levels` has one. `level` gives the first level that keeps each element of a
//!   tensor, `block` the shape of the blocks that share a value (all ones if it is missing), and
//!   `per_level` one list for each level.
//! - Values are `%name`, tensors `@name`; a name with other characters than `A-Za-z0-9_./-` is
//!   written as a string: `%"conv 1"`, with `\"`, `\\`, `\n`, `\r`, `\t`, `\0` and `\u{1f600}`.
//! - Numbers are the shortest that give the same f32 back, or `inf`, `-inf`, `nan` (every NaN).
//! - Attributes at their default are left out. The type behind an op is checked, not believed.
//! - A layout other than plain stands behind the type:
//!   `f32[1, 4, 8, 8] strips(pitch=9, width=64, image=256)`.
//!
//! What it leaves out: nodes that no output needs, and where a node came from; a parsed node names
//! itself and its op as its origin.

mod lexer;
mod parser;
mod printer;
#[cfg(test)]
mod tests;
mod values;

pub use parser::parse_graph;
pub use printer::{PrintOptions, print_graph, print_graph_with};
