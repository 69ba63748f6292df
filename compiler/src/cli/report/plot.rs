//! What the plots of the page share: sizes, colours, and how an SVG gets into it.
//!
//! Every plot is drawn twice, wide and narrow, since a wide one scaled down to a phone cannot be read; the style sheet
//! shows one of them. Lines and letters get stand-in colours that the style sheet replaces, which is how
//! a plot follows the reader's choice of dark or light.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use plotters::style::text_anchor::Pos;

/// Stand-in for the colour of letters and axes; `style.css` names it.
pub const INK: RGBColor = RGBColor(1, 1, 1);

/// Stand-in for the colour of grid lines.
pub const GRID: RGBColor = RGBColor(2, 2, 2);

/// Stand-in for the colour of what matters most.
pub const ACCENT: RGBColor = RGBColor(3, 3, 3);

/// Stand-in for the colour of what it is compared with.
pub const MUTED: RGBColor = RGBColor(4, 4, 4);

/// Colours of parts that are no levels: those of Okabe and Ito, which people who see few colours tell apart, in the order
/// in which neighbours differ most.
pub const PARTS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(214, 200, 50),
];

/// Colour of what is left over.
pub const REST: RGBColor = RGBColor(140, 145, 155);

/// How wide a plot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// For screens of desks, and paper.
    Wide,
    /// For phones.
    Narrow,
}

impl Width {
    /// In pixels.
    pub fn px(self) -> u32 {
        match self {
            Self::Wide => 880,
            Self::Narrow => 330,
        }
    }

    /// Size of letters in the library's measure, which is about 1.2 times that of a browser.
    pub fn font_px(self) -> i32 {
        match self {
            Self::Wide => 17,
            Self::Narrow => 15,
        }
    }

    /// Most labels along a horizontal axis.
    pub fn n_labels(self) -> usize {
        match self {
            Self::Wide => 9,
            Self::Narrow => 4,
        }
    }
}

/// Where plots are drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Whether drawing worked; into a `String` it always does.
pub type Drawn<'a> =
    Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Style of text in `colour` at `pos` of its place.
pub fn text(width: Width, colour: RGBColor, pos: Pos) -> TextStyle<'static> {
    let font = ("sans-serif", width.font_px()).into_font();
    TextStyle {
        font,
        color: colour.to_backend_color(),
        pos,
    }
}

/// A plot as a figure: both widths, described by `label` for those who cannot see it. `height` is in pixels.
pub fn figure(
    label: &str,
    caption: &Markup,
    height: impl Fn(Width) -> u32,
    draw: impl for<'a> Fn(&Area<'a>, Width) -> Drawn<'a>,
) -> Markup {
    let svg = |width: Width| {
        let mut svg = String::new();
        {
            let size = (width.px(), height(width));
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            draw(&area, width).expect("a String takes everything");
            area.present().expect("a String takes everything");
        }
        PreEscaped(inline(&svg))
    };
    html! {
        figure.plot role="group" aria-label=(label) {
            div.wide role="img" aria-label=(label) { (svg(Width::Wide)) }
            div.narrow role="img" aria-label=(label) { (svg(Width::Narrow)) }
            figcaption { (caption) }
        }
    }
}

/// An SVG document as a part of an HTML page, which has no use for its namespace; and without what the
/// elements have in common anyway.
fn inline(svg: &str) -> String {
    let start = svg.find("<svg").unwrap_or(0);
    svg[start..]
        .replace(" xmlns=\"http://www.w3.org/2000/svg\"", "")
        .replace(" opacity=\"1\"", "")
        .replace(" font-family=\"sans-serif\"", "")
        .replace(">\n", ">")
}

/// Colour of a level, from violet for L0 to yellow for the highest. Both ends of the map are left out: they would vanish
/// on dark and on white pages.
pub fn level_colour(level: usize, n_levels: usize) -> (u8, u8, u8) {
    const ENDS: (f32, f32) = (0.18, 0.92);
    let share = match n_levels {
        0 | 1 => 0.4,
        _ => level as f32 / (n_levels - 1) as f32,
    };
    let RGBColor(r, g, b) = ViridisRGB.get_color(ENDS.0 + (ENDS.1 - ENDS.0) * share);
    (r, g, b)
}

/// As a style sheet writes it.
pub fn css(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// From 0 to a little above `highest`, which may be 0.
pub fn from_zero(highest: f64) -> std::ops::Range<f64> {
    match highest > 0.0 {
        true => 0.0..1.04 * highest,
        false => 0.0..1.0,
    }
}

/// Number of an axis: no more digits than neighbours at this `step` need.
pub fn tick(value: f64, step: f64) -> String {
    let digits = (-step.abs().log10()).ceil().clamp(0.0, 9.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_have_the_digits_that_they_need() {
        assert_eq!(tick(0.25, 0.05), "0.25");
        assert_eq!(tick(0.5, 0.05), "0.5");
        assert_eq!(tick(0.0, 0.05), "0");
        assert_eq!(tick(1500.0, 500.0), "1500");
        assert_eq!(tick(0.000_002, 0.000_001), "0.000002");
    }

    #[test]
    fn levels_have_different_colours() {
        for n_levels in [1, 2, 5, 64] {
            let mut colours: Vec<_> = (0..n_levels).map(|l| level_colour(l, n_levels)).collect();
            colours.dedup();
            assert_eq!(colours.len(), n_levels);
        }
    }

    #[test]
    fn an_inline_picture_names_no_address() {
        let label = "a <b> & \"c\"";
        let caption = html! { "no words" };
        let drawn = figure(
            label,
            &caption,
            |_| 50,
            |area, width| {
                area.draw(&Rectangle::new([(1, 1), (9, 9)], INK.filled()))?;
                let pos = Pos::new(
                    plotters::style::text_anchor::HPos::Left,
                    plotters::style::text_anchor::VPos::Top,
                );
                area.draw_text(label, &text(width, ACCENT, pos), (0, 0))
            },
        );
        let drawn = drawn.into_string();
        assert_eq!(drawn.matches("<svg width=").count(), 2, "{drawn}");
        assert!(!drawn.contains("http") && !drawn.contains("<b>"), "{drawn}");
        assert!(drawn.contains("fill=\"#010101\""), "{drawn}");
    }
}
