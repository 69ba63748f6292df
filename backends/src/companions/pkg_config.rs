//! `<name>.pc` for pkg-config; it works wherever the folder is moved to.

use super::{Linking, Manifest};

pub(super) fn write(manifest: &Manifest, linking: Linking) -> String {
    let Manifest {
        name,
        triple,
        condensec,
        ..
    } = manifest;
    let n_levels = manifest.levels.len();
    let libm = if linking.needs_libm { " -lm" } else { "" };
    format!(
        "prefix=${{pcfiledir}}\n\
         \n\
         Name: {name}\n\
         Description: Neural network with {n_levels} levels, compiled by condensec for {triple}\n\
         Version: {condensec}\n\
         Libs: -L${{prefix}} -l{name}{libm}\n\
         Cflags: -I${{prefix}}\n"
    )
}
