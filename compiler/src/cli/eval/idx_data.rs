//! Test sets in the form of MNIST: one IDX file of images, one of labels.

use std::path::{Path, PathBuf};

use condensec_ir::Diagnostic;

use crate::driver;
use crate::idx::{IdxArray, is_idx, read_idx};
use crate::npz::NpzArray;
use crate::report::Failure;

/// How bytes become what the network was trained on: `(byte / 255 - mean) / deviation`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Scaling {
    /// Mean of the pixels in [0, 1] that the network was trained with (IDX images).
    #[arg(long, value_name = "M", default_value_t = 0.0, requires = "labels")]
    mean: f32,

    /// Their standard deviation (IDX images).
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = parse_deviation, requires = "labels")]
    deviation: f32,
}

fn parse_deviation(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(deviation) if deviation > 0.0 && deviation.is_finite() => Ok(deviation),
        _ => Err("expected a number above 0".into()),
    }
}

/// Images and labels as the arrays `x [N, 1, H, W]` and `y [N]`; `None` if the first file is no IDX file.
///
/// # Errors
/// `bad-idx`, `missing-labels`, or a file cannot be read.
pub(super) fn read(
    images: &Path,
    labels: Option<&PathBuf>,
    scaling: Scaling,
) -> Result<Option<Vec<NpzArray>>, Failure> {
    let bytes = driver::read_bytes(images)?;
    if !is_idx(&bytes) {
        return Ok(None);
    }
    let Some(labels) = labels else {
        let message = "an IDX file of images needs one of labels";
        return Err(Diagnostic::error("missing-labels", message)
            .at_file(images.display().to_string())
            .with_help("give it with --labels")
            .into());
    };
    let x = array(&bytes, images)?;
    let y = array(&driver::read_bytes(labels)?, labels)?;
    let scale = |&byte: &u8| (f32::from(byte) / 255.0 - scaling.mean) / scaling.deviation;
    let mut shape = x.shape;
    if shape.len() == 3 {
        shape.insert(1, 1);
    }
    Ok(Some(vec![
        NpzArray::f32("x", &shape, x.elems.iter().map(scale).collect()),
        NpzArray::i64("y", &y.shape, y.elems.iter().map(|&c| c.into()).collect()),
    ]))
}

fn array(bytes: &[u8], path: &Path) -> Result<IdxArray, Failure> {
    read_idx(bytes).map_err(|error| {
        Diagnostic::error("bad-idx", error.to_string())
            .at_file(path.display().to_string())
            .into()
    })
}
