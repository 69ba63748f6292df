//! What holds for the layout of every value:
//!
//! - Only values of rank 4 have a layout other than plain.
//! - Planes: there is at least one phase on each axis; `rows` rows fit the padding at the top and the
//!   height; `pitch` fits the padding on the left and the width; `plane` holds `rows * pitch + left`
//!   elements; `image` holds all planes.
//! - Strips: they have a width; `pitch` fits the value's width; `image` holds the strips up to the
//!   last pixel.
//! - Bands: there is at least one part, a row and a result row; `pitch` fits the value's width; `plane` holds
//!   `front + left + rows * pitch` elements; `image` holds the planes of all parts.

use crate::layout::{Bands, Layout, Planes, Strips};
use crate::ops::checked_n_elems;

/// Checks the invariants that the module lists.
pub(super) fn check_layout(layout: &Layout, shape: &[usize]) -> Result<(), String> {
    let (needs, image) = match (layout, shape) {
        (Layout::Plain, _) => return Ok(()),
        (Layout::Planes(planes), &[_, c, h, w]) => {
            (needed_by_planes(planes, c, h, w)?, planes.image)
        }
        (Layout::Strips(strips), &[_, c, h, w]) => {
            (needed_by_strips(strips, c, h, w)?, strips.image)
        }
        (Layout::Bands(bands), &[_, c, _, w]) => (needed_by_bands(bands, c, w)?, bands.image),
        (Layout::Planes(_) | Layout::Strips(_) | Layout::Bands(_), _) => {
            return Err(format!(
                "only values of rank 4 have this layout, not {shape:?}"
            ));
        }
    };
    if needs > image {
        return Err(format!(
            "an image takes {needs} elements, the layout has {image}"
        ));
    }
    match checked_n_elems(&[shape[0], image]) {
        Some(_) => Ok(()),
        None => Err(format!(
            "{} images of {image} elements are too large",
            shape[0]
        )),
    }
}

fn too_large() -> String {
    "the layout's sizes overflow".into()
}

/// Elements that an image needs, if its planes hold what they must.
fn needed_by_planes(planes: &Planes, c: usize, h: usize, w: usize) -> Result<usize, String> {
    let &Planes {
        phases: [sh, sw],
        top,
        left,
        pitch,
        rows,
        plane,
        ..
    } = planes;
    if sh == 0 || sw == 0 {
        return Err(format!("phases {:?}, expected at least 1", planes.phases));
    }
    let needed_rows = top.checked_add(h).ok_or_else(too_large)?.div_ceil(sh);
    // With one phase, what is left of a row may be the row above, see `Planes::left`.
    let pad = if sw == 1 { 0 } else { left };
    let needed_pitch = pad.checked_add(w).ok_or_else(too_large)?.div_ceil(sw);
    if rows < needed_rows {
        return Err(format!(
            "{h} rows below {top} of padding need {needed_rows}, not {rows}"
        ));
    }
    if pitch < needed_pitch {
        return Err(format!(
            "{w} columns after {pad} of padding need {needed_pitch}, not {pitch}"
        ));
    }
    let needed_plane = rows.checked_mul(pitch).and_then(|n| n.checked_add(left));
    let needed_plane = needed_plane.ok_or_else(too_large)?;
    if plane < needed_plane {
        return Err(format!(
            "a plane takes {needed_plane} elements, the layout has {plane}"
        ));
    }
    let n_planes = sh.checked_mul(sw).and_then(|n| n.checked_mul(c));
    n_planes
        .and_then(|n| n.checked_mul(plane))
        .ok_or_else(too_large)
}

/// Elements that an image needs, if its strips hold what they must.
fn needed_by_strips(strips: &Strips, c: usize, h: usize, w: usize) -> Result<usize, String> {
    let &Strips { pitch, width, .. } = strips;
    if width == 0 {
        return Err("strips of width 0".into());
    }
    if pitch < w {
        return Err(format!("{w} columns need a pitch of {w}, not {pitch}"));
    }
    if h == 0 || w == 0 {
        return Ok(0);
    }
    let n_pixels = (h - 1).checked_mul(pitch).and_then(|n| n.checked_add(w));
    let n_strips = n_pixels.ok_or_else(too_large)?.div_ceil(width);
    n_strips
        .checked_mul(width)
        .and_then(|n| n.checked_mul(c))
        .ok_or_else(too_large)
}

/// Elements that an image needs, if its bands hold what they must.
fn needed_by_bands(bands: &Bands, c: usize, w: usize) -> Result<usize, String> {
    let &Bands {
        result_rows,
        parts,
        front,
        left,
        pitch,
        rows,
        plane,
        ..
    } = bands;
    if [result_rows, parts, rows].contains(&0) {
        return Err("bands without rows or parts".into());
    }
    if pitch < w {
        return Err(format!("{w} columns need a pitch of {w}, not {pitch}"));
    }
    let in_rows = rows.checked_mul(pitch).and_then(|n| n.checked_add(left));
    let needed_plane = in_rows.and_then(|n| n.checked_add(front));
    let needed_plane = needed_plane.ok_or_else(too_large)?;
    if plane < needed_plane {
        return Err(format!(
            "a plane takes {needed_plane} elements, the layout has {plane}"
        ));
    }
    let n_planes = parts.checked_mul(c);
    n_planes
        .and_then(|n| n.checked_mul(plane))
        .ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands() {
        let good = Bands {
            result_rows: 1,
            parts: 2,
            front: 8,
            left: 1,
            pitch: 5,
            rows: 3,
            plane: 24,
            image: 2 * 3 * 24,
        };
        let check = |change: &dyn Fn(&mut Bands)| {
            let mut bands = good.clone();
            change(&mut bands);
            check_layout(&Layout::Bands(bands), &[2, 3, 9, 4])
        };
        assert_eq!(check(&|_| {}), Ok(()));
        let wrong: [&dyn Fn(&mut Bands); 8] = [
            &|b| b.result_rows = 0,
            &|b| b.parts = 0,
            &|b| b.rows = 0,
            &|b| b.pitch = 3,
            &|b| b.plane = 23,
            &|b| b.image -= 1,
            &|b| b.front = usize::MAX,
            &|b| b.parts = usize::MAX,
        ];
        for change in wrong {
            assert!(check(change).is_err());
        }
        assert!(check_layout(&Layout::Bands(good.clone()), &[3]).is_err());
    }

    #[test]
    fn planes() {
        // [2, 4] rows and columns, padding of one on each side, a stride of 2.
        let good = Planes {
            phases: [2, 2],
            top: 1,
            left: 1,
            pitch: 3,
            rows: 2,
            plane: 7,
            image: 3 * 4 * 7,
        };
        let check = |planes: Planes| check_layout(&Layout::Planes(planes), &[2, 3, 2, 4]);
        assert_eq!(check(good.clone()), Ok(()));
        assert!(
            check(Planes {
                phases: [0, 2],
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Planes {
                rows: 1,
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Planes {
                pitch: 2,
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Planes {
                plane: 6,
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Planes {
                image: 83,
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Planes {
                image: usize::MAX,
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Planes {
                top: usize::MAX,
                ..good.clone()
            })
            .is_err()
        );
        assert!(check_layout(&Layout::Planes(good), &[3, 2, 4]).is_err());
    }

    #[test]
    fn strips() {
        // Pixels 0..4 and 5..9 in strips of 8.
        let good = Strips {
            pitch: 5,
            width: 8,
            image: 2 * 8 * 3,
        };
        let check = |strips: Strips| check_layout(&Layout::Strips(strips), &[2, 3, 2, 4]);
        assert_eq!(check(good.clone()), Ok(()));
        assert!(
            check(Strips {
                pitch: 3,
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Strips {
                width: 0,
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Strips {
                image: 47,
                ..good.clone()
            })
            .is_err()
        );
        assert!(
            check(Strips {
                pitch: usize::MAX,
                ..good.clone()
            })
            .is_err()
        );
        assert!(check_layout(&Layout::Strips(good), &[3]).is_err());
    }
}
