//! Mask pictures: one pixel per block of a weight, in the colour of the first level that keeps it.
//!
//! PNG with a palette rather than SVG: a layer has thousands of blocks, and a pixel takes a few bits here. What no level
//! keeps is transparent, so that the page's background shows.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use condensec_backends::companions::Manifest;
use condensec_ir::sparsity::LevelMask;
use condensec_ir::{Diagnostic, Graph, TensorId, tensor::LevelRule};
use maud::{Markup, html};

use super::plot::level_colour;
use super::{Subject, table};
use crate::report::Failure;

/// Pictures where no layer is asked for.
const DEFAULT_LAYERS: usize = 3;

/// Blocks of a picture that nobody asked for: some 10 kB.
const MOST_DEFAULT_BLOCKS: usize = 1 << 15;

/// Blocks of any picture: more than a screen has pixels, and what a browser still shows at once.
const MOST_BLOCKS: usize = 1 << 22;

/// Height of a picture and width of a page, in pixels.
const ROOM_PX: (usize, usize) = (400, 880);

/// Pixels of the screen for a weight, each way.
const MOST_SCALE: usize = 12;

/// Names that a message lists.
const MOST_NAMES: usize = 8;

/// Names this similar, of 1, may be meant.
const SIMILAR: f64 = 0.7;

/// A weight with a mask, and the node that reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    node: String,
    weight: String,
    tensor: TensorId,
}

/// The mask of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Name of the node.
    pub layer: String,
    /// Name of the weight.
    pub weight: String,
    shape: Vec<usize>,
    block: Vec<usize>,
    /// Blocks down (first axis) and across (all others).
    grid: (usize, usize),
    /// Rows of blocks that are shown, from the first.
    n_rows: usize,
    /// Kept blocks per level, L0 first, of all rows.
    n_kept: Vec<usize>,
    png: Vec<u8>,
}

/// All layers with a mask, in order of execution.
fn layers(graph: &Graph) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for id in graph.order() {
        let node = graph.node(id);
        for tensor in node.op.tensors() {
            let found = graph.tensor(tensor);
            let is_masked = matches!(found.rule, LevelRule::Masked(_));
            if !is_masked || layers.iter().any(|layer| layer.tensor == tensor) {
                continue;
            }
            let name = match node.origin.name.as_str() {
                "" => &node.name,
                name => name,
            };
            layers.push(Layer {
                node: name.to_string(),
                weight: found.name.clone(),
                tensor,
            });
        }
    }
    layers
}

/// The layers to show: those that are `wanted`, or some from the first to the last whose pictures are small.
///
/// # Errors
/// `unknown-layer`, `layer-without-mask`.
pub fn choose(graph: &Graph, wanted: &[String], model: &Path) -> Result<Vec<Layer>, Failure> {
    let layers = layers(graph);
    if wanted.is_empty() {
        let is_small = |layer: &&Layer| layer.n_blocks(graph) <= MOST_DEFAULT_BLOCKS;
        let mut small: Vec<&Layer> = layers.iter().filter(is_small).collect();
        if small.is_empty() {
            small = layers.iter().collect();
        }
        return Ok(spread(small.len()).map(|at| small[at].clone()).collect());
    }
    let mut chosen: Vec<Layer> = Vec::new();
    for name in wanted {
        let is_meant = |layer: &&Layer| layer.node == *name || layer.weight == *name;
        let found: Vec<&Layer> = layers.iter().filter(is_meant).collect();
        if found.is_empty() {
            return Err(unknown(graph, name, &layers, model));
        }
        for layer in found {
            if !chosen.contains(layer) {
                chosen.push(layer.clone());
            }
        }
    }
    Ok(chosen)
}

/// Up to [`DEFAULT_LAYERS`] numbers below `n`, the first and the last among them.
fn spread(n: usize) -> impl Iterator<Item = usize> {
    let n_chosen = n.min(DEFAULT_LAYERS);
    (0..n_chosen).map(move |i| match n_chosen {
        1 => 0,
        _ => i * (n - 1) / (n_chosen - 1),
    })
}

fn unknown(graph: &Graph, name: &str, layers: &[Layer], model: &Path) -> Failure {
    let file = model.display().to_string();
    let is_it = |id| {
        let node = graph.node(id);
        let mut tensors = node.op.tensors().into_iter();
        node.origin.name == name || tensors.any(|tensor| graph.tensor(tensor).name == name)
    };
    let diagnostic = match graph.order().into_iter().find(|&id| is_it(id)) {
        Some(_) => Diagnostic::error(
            "layer-without-mask",
            format!("{name} has no mask: it is the same at every level"),
        ),
        None => Diagnostic::error("unknown-layer", format!("there is no layer {name}")),
    }
    .at_file(file);
    if layers.is_empty() {
        return diagnostic
            .with_note("no layer of the model has a mask")
            .with_help("condensec nest makes a supernet of a trained model")
            .into();
    }
    let names = layers.iter().flat_map(|layer| [&layer.node, &layer.weight]);
    let mut near: Vec<(f64, &String)> = names
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    near.dedup_by(|a, b| a.1 == b.1);
    let some: Vec<&str> = layers
        .iter()
        .take(MOST_NAMES)
        .map(|layer| layer.node.as_str())
        .collect();
    let more = match layers.len() - some.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let diagnostic =
        diagnostic.with_note(format!("layers with masks are {}{more}", some.join(", ")));
    match near.first() {
        Some((_, nearest)) => diagnostic.with_help(format!("perhaps {nearest} is meant")),
        None => diagnostic.with_help("condensec inspect lists all layers"),
    }
    .into()
}

/// What `manifest` would say if it were of `graph` and does not; nothing if it may be.
pub fn missing_from(graph: &Graph, manifest: &Manifest) -> Option<String> {
    let has = |layer: &Layer| manifest.layers.iter().any(|other| other.name == layer.node);
    let missing = layers(graph).into_iter().find(|layer| !has(layer))?;
    Some(format!("the library has no layer {}", missing.node))
}

impl Layer {
    fn mask<'a>(&self, graph: &'a Graph) -> (&'a [usize], &'a LevelMask) {
        let tensor = graph.tensor(self.tensor);
        match &tensor.rule {
            LevelRule::Masked(mask) => (&tensor.shape, mask),
            LevelRule::Shared | LevelRule::PerLevel => {
                unreachable!("only weights with masks are layers here")
            }
        }
    }

    fn n_blocks(&self, graph: &Graph) -> usize {
        let (shape, mask) = self.mask(graph);
        grid(shape, mask.block()).iter().product()
    }

    /// Draws it; `is_wanted` by the user, who then gets all of it.
    pub fn draw(&self, graph: &Graph, is_wanted: bool) -> Picture {
        let (shape, mask) = self.mask(graph);
        let n_levels = graph.n_levels as usize;
        let blocks = block_levels(shape, mask, &graph.tensor(self.tensor).data, n_levels);
        let grid = grid(shape, mask.block());
        let n_down = grid.first().copied().unwrap_or(1).max(1);
        let n_across = (blocks.len() / n_down).max(1);
        let most = match is_wanted {
            true => MOST_BLOCKS,
            false => MOST_DEFAULT_BLOCKS,
        };
        let n_rows = (most / n_across).clamp(1, n_down);
        let n_kept = (0..n_levels).map(|level| {
            let is_kept = |first: &&u8| usize::from(**first) <= level;
            blocks.iter().filter(is_kept).count()
        });
        Picture {
            layer: self.node.clone(),
            weight: self.weight.clone(),
            shape: shape.to_vec(),
            block: mask.block().to_vec(),
            grid: (n_down, n_across),
            n_rows,
            n_kept: n_kept.collect(),
            png: encode(&blocks[..n_rows * n_across], n_across, n_levels),
        }
    }
}

/// Blocks along each axis.
fn grid(shape: &[usize], block: &[usize]) -> Vec<usize> {
    let sizes = shape.iter().zip(block);
    sizes.map(|(&size, &block)| size.div_ceil(block)).collect()
}

/// First level that keeps anything of each block, row-major over the grid; `n_levels` if none does. A plain zero is
/// never kept.
fn block_levels(shape: &[usize], mask: &LevelMask, weights: &[f32], n_levels: usize) -> Vec<u8> {
    let never = n_levels as u8;
    let grid = grid(shape, mask.block());
    let mut blocks = vec![never; grid.iter().product()];
    let mut index = vec![0usize; shape.len()];
    for (&level, &weight) in mask.values().iter().zip(weights) {
        let axes = index.iter().zip(mask.block()).zip(&grid);
        let at = axes.fold(0, |at, ((i, block), n)| at * n + i / block);
        if weight != 0.0 {
            blocks[at] = blocks[at].min(level);
        }
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    blocks
}

/// Pixels of levels as PNG; palette entry `n_levels` is transparent.
fn encode(levels: &[u8], width: usize, n_levels: usize) -> Vec<u8> {
    let mut palette: Vec<u8> = Vec::new();
    for level in 0..n_levels {
        let (r, g, b) = level_colour(level, n_levels);
        palette.extend([r, g, b]);
    }
    palette.extend([255, 255, 255]);
    let mut alpha = vec![255; n_levels];
    alpha.push(0);
    let (depth, bits) = match n_levels + 1 {
        0..=2 => (png::BitDepth::One, 1),
        3..=4 => (png::BitDepth::Two, 2),
        5..=16 => (png::BitDepth::Four, 4),
        _ => (png::BitDepth::Eight, 8),
    };
    let pack = |pixels: &[u8]| {
        let shifts = (0..8 / bits).rev().map(|place| place * bits);
        pixels
            .iter()
            .zip(shifts)
            .fold(0, |byte, (&pixel, shift)| byte | pixel << shift)
    };
    let rows = levels.chunks(width);
    let packed: Vec<u8> = rows
        .flat_map(|row| row.chunks(8 / bits).map(pack))
        .collect();
    let mut file = Vec::new();
    let side = |n: usize| u32::try_from(n).expect("a picture has at most MOST_BLOCKS pixels a row");
    let mut encoder = png::Encoder::new(&mut file, side(width), side(levels.len() / width));
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(depth);
    encoder.set_palette(palette);
    encoder.set_trns(alpha);
    // Palette numbers of neighbours have nothing in common, so a filter would only hide repetitions.
    encoder.set_filter(png::Filter::NoFilter);
    encoder.set_deflate_compression(png::DeflateCompression::Level(9));
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&packed)?;
        writer.finish()
    });
    written.expect("a Vec takes everything, and the pixels are as many as announced");
    file
}

/// The section.
pub fn section(subject: &Subject) -> Markup {
    let levels = &subject.manifest.levels;
    html! {
        p {
            "Which weights a level keeps. A pixel is a block of weights that are kept or dropped together, in the colour of the
            lowest level that keeps it; every level above keeps it too. Blocks that no level keeps have the background's colour."
        }
        ul.legend aria-label="colours of the levels" {
            @for (number, level) in levels.iter().enumerate() {
                li {
                    span.swatch style=(swatch(number, levels.len())) {}
                    @if level.name == format!("L{number}") { (level.name) }
                    @else { "L" (number) " " (level.name) }
                }
            }
        }
        @for picture in &subject.pictures { (picture.figure()) }
        @if subject.pictures.iter().any(|picture| picture.n_rows < picture.grid.0) {
            p.note { "Pictures that would be large show the first rows only; " code { "--layer NAME" } " shows all of a layer." }
        }
    }
}

/// The style of a legend's square.
fn swatch(level: usize, n_levels: usize) -> String {
    let (r, g, b) = level_colour(level, n_levels);
    format!("background:#{r:02x}{g:02x}{b:02x}")
}

impl Picture {
    fn figure(&self) -> Markup {
        let n_blocks = self.grid.0 * self.grid.1;
        let share = |n: usize| format!("{:.1} %", 100.0 * n as f64 / n_blocks.max(1) as f64);
        let shares: Vec<String> = self
            .n_kept
            .iter()
            .enumerate()
            .map(|(level, &n)| format!("L{level} {}", share(n)))
            .collect();
        let shares = shares.join(", ");
        let alt = format!("Mask of {}; kept blocks: {shares}", self.layer);
        html! {
            figure.mask {
                div.scroll tabindex="0" role="group" aria-label=(format!("mask of {}", self.layer)) {
                    img.large[self.is_large()] alt=(alt) style=(self.style()) src=(self.source());
                }
                figcaption {
                    b { (self.layer) }
                    " (weight " (self.weight) ", " (table::shape(&self.shape)) ", blocks of " (table::shape(&self.block)) "). "
                    (self.n_rows) @if self.n_rows < self.grid.0 { " of " (self.grid.0) }
                    @if self.grid.0 == 1 { " row" } @else { " rows" }
                    " of " (self.grid.1) " blocks: down the first axis, across the others. Kept blocks: " (shares) "."
                }
            }
        }
    }

    fn source(&self) -> String {
        format!("data:image/png;base64,{}", STANDARD.encode(&self.png))
    }

    /// Weights down and across.
    fn size(&self) -> (usize, usize) {
        let block_down = self.block.first().copied().unwrap_or(1);
        let down = self.shape.first().copied().unwrap_or(1).max(1);
        let n_weights: usize = self.shape.iter().product();
        let across = (n_weights / down).max(1);
        (down.min(self.n_rows * block_down), across)
    }

    /// Whether a page is too narrow for it, which would make columns vanish: it scrolls then.
    fn is_large(&self) -> bool {
        self.size().1 > ROOM_PX.1
    }

    /// Every weight gets the same square, whatever the shape of the blocks; as large as fits a page.
    fn style(&self) -> String {
        let (down, across) = self.size();
        let scale = (ROOM_PX.0 / down)
            .min(ROOM_PX.1 / across)
            .clamp(1, MOST_SCALE);
        format!("width:{}px;aspect-ratio:{across}/{down}", across * scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(png: &[u8]) -> (u32, u32, Vec<[u8; 4]>) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::ALPHA);
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let pixels = bytes.as_chunks::<4>().0.to_vec();
        (info.width, info.height, pixels)
    }

    #[test]
    fn a_pixel_has_the_colour_of_its_level() {
        for n_levels in [1, 2, 3, 5, 15, 16, 64] {
            // Of odd width, so that the last byte of a row is not full.
            let levels: Vec<u8> = (0..21).map(|i| (i % (n_levels + 1)) as u8).collect();
            let (width, height, pixels) = decode(&encode(&levels, 7, n_levels));
            assert_eq!((width, height), (7, 3));
            for (&level, &[r, g, b, alpha]) in levels.iter().zip(&pixels) {
                if usize::from(level) == n_levels {
                    assert_eq!(alpha, 0);
                } else {
                    let expected = level_colour(level.into(), n_levels);
                    assert_eq!(((r, g, b), alpha), (expected, 255), "{n_levels}");
                }
            }
        }
    }

    #[test]
    fn a_block_has_the_level_of_its_first_weight_that_is_not_zero() {
        // Two blocks of two rows in each of two columns, the last cut off.
        let mask = LevelMask::new(vec![0, 1, 0, 1, 1, 3], &[2, 1]);
        let of = |weights: &[f32]| block_levels(&[3, 2], &mask, weights, 3);
        assert_eq!(of(&[1.0; 6]), [0, 1, 1, 3]);
        assert_eq!(of(&[0.0, 1.0, 2.0, 0.0, 0.0, 1.0]), [0, 1, 3, 3]);
    }

    #[test]
    fn layers_by_themselves_go_from_the_first_to_the_last() {
        let of = |n| spread(n).collect::<Vec<_>>();
        assert!(of(0).is_empty());
        assert_eq!(of(1), [0]);
        assert_eq!(of(2), [0, 1]);
        assert_eq!(of(5), [0, 2, 4]);
        assert_eq!(of(50), [0, 24, 49]);
    }
}
