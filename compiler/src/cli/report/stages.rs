//! Layers in few groups, so that a plot of a deep network can be read.
//!
//! Names tell what belongs together where exporters keep the structure of the module (`layer1.0.conv2`); else
//! neighbours are put together in the order of execution.

use condensec_backends::companions::LayerEntry;

use super::plot::PARTS;

/// Groups of a plot: as many as there are colours that one can tell apart.
pub const MOST_STAGES: usize = PARTS.len();

/// A group with more of the cycles than this says little about where they go.
const MOST_SHARE: f64 = 0.75;

/// Layers that are shown as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What they are called together.
    pub name: String,
    /// Their numbers, rising.
    pub layers: Vec<usize>,
}

/// Puts `layers` into at most [`MOST_STAGES`] stages, in order of their first layers.
pub fn stages(layers: &[LayerEntry]) -> Vec<Stage> {
    if layers.len() <= MOST_STAGES {
        let one = |(at, layer): (usize, &LayerEntry)| Stage {
            name: layer.name.clone(),
            layers: vec![at],
        };
        return layers.iter().enumerate().map(one).collect();
    }
    by_name(layers).unwrap_or_else(|| by_place(layers))
}

/// Layers whose names begin alike, as finely as there is room for.
fn by_name(layers: &[LayerEntry]) -> Option<Vec<Stage>> {
    let deepest = layers
        .iter()
        .map(|layer| parts(&layer.name).count())
        .max()?;
    let groupings = (1..=deepest).map(|depth| {
        let mut stages: Vec<Stage> = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let name = parts(&layer.name).take(depth).last().unwrap_or_default();
            match stages.iter_mut().find(|stage| stage.name == name) {
                Some(stage) => stage.layers.push(at),
                None => stages.push(Stage {
                    name: name.to_string(),
                    layers: vec![at],
                }),
            }
        }
        stages
    });
    let fitting = groupings.take_while(|stages| stages.len() <= MOST_STAGES);
    let mut stages = fitting.last()?;
    let top = |at: usize| {
        layers[at]
            .per_level
            .last()
            .map_or(0, |level| level.predicted_cycles)
    };
    let cycles = |stage: &Stage| stage.layers.iter().map(|&at| top(at)).sum::<u64>();
    let all: u64 = (0..layers.len()).map(top).sum();
    let most = stages.iter().map(cycles).max()?;
    if most as f64 > MOST_SHARE * all as f64 {
        return None;
    }
    for stage in &mut stages {
        stage.name = match stage.layers.as_slice() {
            [only] => layers[*only].name.clone(),
            several => format!("{} ({} layers)", stage.name, several.len()),
        };
    }
    Some(stages)
}

/// The beginnings of a name that end before a separator, shortest first, and the name itself.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    let ends = name
        .char_indices()
        .filter(|&(at, c)| at > 0 && matches!(c, '.' | '/' | ':'));
    ends.map(|(at, _)| &name[..at]).chain([name])
}

/// Neighbours, about equally many in each stage.
fn by_place(layers: &[LayerEntry]) -> Vec<Stage> {
    let n = layers.len();
    let stage = |number: usize| {
        let layers_of: Vec<usize> =
            (n * number / MOST_STAGES..n * (number + 1) / MOST_STAGES).collect();
        let (first, last) = (layers_of[0], layers_of[layers_of.len() - 1]);
        Stage {
            name: match first == last {
                true => layers[first].name.clone(),
                false => format!("{} – {}", layers[first].name, layers[last].name),
            },
            layers: layers_of,
        }
    };
    (0..MOST_STAGES).map(stage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec_backends::companions::LayerLevelEntry;

    fn named(names: impl IntoIterator<Item = String>) -> Vec<LayerEntry> {
        let level = LayerLevelEntry {
            level: 0,
            density: 1.0,
            macs: 1,
            weight_bytes: 4,
            predicted_cycles: 10,
            kernel: "kernel".into(),
        };
        let layer = |name| LayerEntry {
            name,
            op: "Conv".into(),
            shape: vec![1],
            block: vec![1],
            format: "dense".into(),
            per_level: vec![level.clone()],
        };
        names.into_iter().map(layer).collect()
    }

    fn check(names: &[String], expected: &[&str]) {
        let layers = named(names.iter().cloned());
        let stages = stages(&layers);
        let found: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(found, expected);
        let mut all: Vec<usize> = stages.into_iter().flat_map(|stage| stage.layers).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..layers.len()));
    }

    fn blocks(prefix: &str) -> Vec<String> {
        let blocks = (1..=4).flat_map(|stage| (0..3).map(move |block| (stage, block)));
        blocks
            .map(|(stage, block)| format!("{prefix}layer{stage}.{block}.conv"))
            .collect()
    }

    #[test]
    fn names_that_begin_alike_are_a_stage() {
        let mut names = blocks("");
        names.push("fc".into());
        let expected = [
            "layer1 (3 layers)",
            "layer2 (3 layers)",
            "layer3 (3 layers)",
            "layer4 (3 layers)",
            "fc",
        ];
        check(&names, &expected);
        // What all names begin with does not matter.
        let names: Vec<String> = names.iter().map(|name| format!("/net/{name}")).collect();
        let expected = expected.map(|name| format!("/net/{name}"));
        check(&names, &expected.each_ref().map(String::as_str));
    }

    #[test]
    fn few_layers_stay_alone_and_names_without_structure_are_split_evenly() {
        check(&blocks("")[..2], &["layer1.0.conv", "layer1.1.conv"]);
        let names: Vec<String> = (0..14).map(|at| format!("conv_{at}")).collect();
        let pairs: Vec<String> = (0..7)
            .map(|at| format!("conv_{} – conv_{}", 2 * at, 2 * at + 1))
            .collect();
        check(
            &names,
            &pairs.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
}
