//! Windows that slide over an axis: shared by convolution and pooling.

/// Output size of a window op along one axis, or an error if the window does not fit.
pub(super) fn window_size(
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: &[usize],
) -> Result<usize, String> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err("kernel, stride and dilation must be at least 1".into());
    }
    let reach = (kernel - 1)
        .checked_mul(dilation)
        .and_then(|r| r.checked_add(1));
    let padded = pads.iter().try_fold(size, |sum, &p| sum.checked_add(p));
    match (reach, padded) {
        (Some(reach), Some(padded)) if reach <= padded => Ok((padded - reach) / stride + 1),
        _ => Err(format!(
            "a window of {kernel} (dilation {dilation}) does not fit {size} with padding {pads:?}"
        )),
    }
}

/// Checks that each of `n_windows` windows has an element in `0..size`; `low` is the padding before
/// the first element. The arguments have passed [`window_size`].
pub(super) fn check_windows_inside(
    n_windows: usize,
    size: usize,
    low: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
) -> Result<(), String> {
    // A window whose first element lies in `0..size` is fine, one that begins after it is not.
    let last = n_windows.saturating_sub(1).saturating_mul(stride);
    let mut outside = (last >= low.saturating_add(size)).then_some(n_windows - 1);
    // Windows that begin in the low padding. If the taps are too close to step over the whole axis,
    // the first window is the worst one.
    let n_first = if dilation <= size {
        1
    } else {
        low.div_ceil(stride)
    };
    for o in 0..n_first.min(n_windows) {
        let missing = low.saturating_sub(o * stride);
        let k = missing.div_ceil(dilation);
        if k >= kernel || k * dilation >= missing + size {
            outside = outside.or(Some(o));
        }
    }
    match outside {
        None => Ok(()),
        Some(o) => Err(format!(
            "window {o} of {n_windows} lies in the padding only"
        )),
    }
}

/// Places that a window reads along one axis, without those in the padding of `low` before the
/// first element; the caller drops those behind the last. The window begins at `begin`, counted
/// from the first padding element.
pub(super) fn window_taps(
    begin: usize,
    kernel: usize,
    dilation: usize,
    low: usize,
) -> impl Iterator<Item = usize> {
    (0..kernel).filter_map(move |k| (begin + k * dilation).checked_sub(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(window_size(7, 3, 2, 1, &[1, 1]), Ok(4));
        assert_eq!(window_size(5, 3, 1, 2, &[0, 0]), Ok(1));
        assert!(window_size(4, 3, 1, 2, &[0, 0]).is_err());
        assert!(window_size(4, usize::MAX, 1, 2, &[0, 0]).is_err());
        assert!(window_size(4, 1, 1, 1, &[usize::MAX, 1]).is_err());
        assert!(window_size(4, 1, 0, 1, &[0, 0]).is_err());
    }

    #[test]
    fn inside_agrees_with_a_search() {
        for (size, low, high) in (0..5).flat_map(|s| (0..5).map(move |l| (s, l, 4 - l.min(4)))) {
            for (kernel, stride, dilation) in
                (1..4).flat_map(|k| (1..4).flat_map(move |s| (1..4).map(move |d| (k, s, d))))
            {
                let Ok(n) = window_size(size, kernel, stride, dilation, &[low, high]) else {
                    continue;
                };
                let has_element = |o: usize| {
                    (0..kernel).any(|k| {
                        let at = o * stride + k * dilation;
                        at >= low && at < low + size
                    })
                };
                assert_eq!(
                    check_windows_inside(n, size, low, kernel, stride, dilation).is_ok(),
                    (0..n).all(has_element),
                    "{size} {low} {high} {kernel} {stride} {dilation}"
                );
            }
        }
    }
}
