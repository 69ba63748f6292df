//! Density of every layer at every level, as a table whose cells are as dark as they are dense.
//!
//! A table rather than a picture: it can be read out, searched and copied, and scrolls where it is large.

use condensec_backends::companions::LayerEntry;
use maud::{Markup, html};

use super::page::breakable;
use super::{Subject, table};

/// The section.
pub fn section(subject: &Subject) -> Markup {
    let manifest = &subject.manifest;
    html! {
        p { "Kept share of each layer's weights, by level. Layers without a mask are the same at every level." }
        div.scroll tabindex="0" role="group" aria-label="density by layer and level" {
            table.heat.names {
                thead {
                    tr {
                        th scope="col" { "layer" }
                        @for (number, level) in manifest.levels.iter().enumerate() {
                            th scope="col" title=(level.name) { "L" (number) }
                        }
                        th scope="col" { "weights" }
                        th.word scope="col" { "shape" }
                        th.word scope="col" { "blocks" }
                    }
                }
                tbody {
                    @for layer in &manifest.layers {
                        tr {
                            th scope="row" { (breakable(&layer.name)) }
                            @for level in &layer.per_level { (cell(level.density)) }
                            td { (table::count(n_weights(layer))) }
                            td.word { (table::shape(&layer.shape)) }
                            td.word { (table::shape(&layer.block)) }
                        }
                    }
                }
                tfoot {
                    tr {
                        // Without any mask a level's density is that of all layers.
                        th scope="row" {
                            @if subject.pictures.is_empty() { "all layers" } @else { "layers with masks" }
                        }
                        @for level in &manifest.levels { (cell(level.density)) }
                        td colspan="3" {}
                    }
                }
            }
        }
    }
}

fn cell(density: f64) -> Markup {
    // To the percent: nobody sees more, and the page stays small.
    let percent = (100.0 * density).round();
    html! { td.d style=(format!("--d:{percent}%")) { (format!("{density:.3}")) } }
}

fn n_weights(layer: &LayerEntry) -> u64 {
    layer.shape.iter().map(|&size| size as u64).product()
}
