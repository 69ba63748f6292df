//! Stacked bars, one below the other: where something goes, as a plot with its legend.

use maud::{Markup, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::plot::{self, Area, Drawn, GRID, INK, Width};

/// Height of a bar with the space below it, in pixels.
const PITCH_PX: i32 = 30;

/// Height of a bar.
const BAR_PX: i32 = 20;

/// Room below the bars for the axis.
const AXIS_PX: i32 = 44;

/// Bars and the parts that they consist of.
pub struct Bars<'a> {
    /// What the plot shows, for those who cannot see it.
    pub label: &'a str,
    /// What a reader should know beside it.
    pub caption: Markup,
    /// Names of the bars and the values of their parts, in the axis' unit.
    pub bars: Vec<(String, Vec<f64>)>,
    /// Names and colours of the parts.
    pub parts: Vec<(String, RGBColor)>,
    /// The axis with its unit.
    pub axis: &'a str,
}

impl Bars<'_> {
    /// The plot and its legend.
    pub fn render(&self) -> Markup {
        let height = AXIS_PX + PITCH_PX * self.bars.len() as i32;
        html! {
            (plot::figure(self.label, &self.caption, |_| height as u32, |area, width| self.draw(area, width)))
            ul.legend aria-label="colours of the parts" {
                @for (name, colour) in &self.parts {
                    li { span.swatch style=(format!("background:{}", plot::css(*colour))) {} (name) }
                }
            }
        }
    }

    fn draw<'a>(&self, area: &Area<'a>, width: Width) -> Drawn<'a> {
        let sum = |(_, values): &(String, Vec<f64>)| values.iter().sum::<f64>();
        let highest = self.bars.iter().map(sum).fold(0.0, f64::max);
        let longest = self.bars.iter().map(|(name, _)| name.chars().count()).max();
        // Letters are about 0.6 of their height wide.
        let name_px = longest.unwrap_or(0) as i32 * width.font_px() * 6 / 10 + 12;
        let name_px = name_px.min(width.px() as i32 / 3);
        let mut chart = ChartBuilder::on(area)
            .margin_right(16)
            .set_label_area_size(LabelAreaPosition::Left, name_px)
            .set_label_area_size(LabelAreaPosition::Bottom, AXIS_PX)
            .build_cartesian_2d(plot::from_zero(highest), 0.0..self.bars.len() as f64)?;
        let step = highest / width.n_labels() as f64;
        let number = |value: &f64| plot::tick(*value, step);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(width.n_labels())
            .y_labels(0)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_label_formatter(&number)
            .x_label_style(plot::text(width, INK, Pos::new(HPos::Center, VPos::Top)))
            .axis_desc_style(plot::text(width, INK, Pos::new(HPos::Center, VPos::Top)))
            .x_desc(self.axis)
            .draw()?;
        let (x_px, _) = chart.plotting_area().get_pixel_range();
        let to_px = |value: f64| {
            let range = plot::from_zero(highest);
            let length = f64::from(x_px.end - x_px.start);
            x_px.start + (value / range.end * length).round() as i32
        };
        for (row, (name, values)) in self.bars.iter().enumerate() {
            let top = row as i32 * PITCH_PX + (PITCH_PX - BAR_PX) / 2;
            let place = (x_px.start - 8, top + BAR_PX / 2);
            let style = plot::text(width, INK, Pos::new(HPos::Right, VPos::Center));
            area.draw_text(&fitting(name, width), &style, place)?;
            let mut begin = 0.0;
            for (value, (_, colour)) in values.iter().zip(&self.parts) {
                let corners = [(to_px(begin), top), (to_px(begin + value), top + BAR_PX)];
                begin += value;
                if corners[0].0 < corners[1].0 {
                    area.draw(&Rectangle::new(corners, colour.filled()))?;
                }
            }
        }
        Ok(())
    }
}

/// As much of a name as there is room for.
fn fitting(name: &str, width: Width) -> String {
    let room = width.px() as usize / 3 / (width.font_px() as usize * 6 / 10);
    match name.chars().count() > room {
        true => name.chars().take(room - 1).chain(['…']).collect(),
        false => name.to_string(),
    }
}
