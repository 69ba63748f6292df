//! Accuracy against latency: what a level gives for its time.

use maud::{Markup, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::plot::{self, ACCENT, Area, Drawn, GRID, INK, MUTED, Width};
use super::{Subject, table};
use crate::cli::eval::{LevelScore, Score};
use crate::cli::plan::{Plan, PlannedLevel};

/// Radius of a point.
const POINT_PX: i32 = 5;

/// Points that belong together, each with its name.
struct Series {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(String, (f64, f64))>,
}

/// A plot of one or two of them.
struct Front {
    label: String,
    x: String,
    y: &'static str,
    series: Vec<Series>,
}

/// The section; nothing without an evaluation or a plan.
pub fn section(subject: &Subject) -> Option<Markup> {
    let measured = measured(subject);
    let planned = subject.results.plan.as_ref().map(planned);
    if measured.is_none() && planned.is_none() {
        return None;
    }
    Some(html! {
        @if let Some((front, caption)) = measured { (front.render(&caption)) (front.table()) }
        @if let Some((front, caption)) = planned { h3 { "Planned levels" } (front.render(&caption)) (front.table()) }
    })
}

/// Levels by their time and what the test set says.
fn measured(subject: &Subject) -> Option<(Front, Markup)> {
    let results = &subject.results;
    let evaluation = results.evaluation.as_ref()?;
    let y = match evaluation.levels.first()?.score {
        Score::Accuracy { .. } => "top-1 accuracy, %",
        Score::Error { .. } => "mean absolute error",
    };
    let is_bench = results.benchmark.is_some();
    let point = |(number, level): (usize, &LevelScore)| {
        let ms = match is_bench {
            true => results.median_ms(number)?,
            false => level.min_ms,
        };
        let quality = match level.score {
            Score::Accuracy { top1, .. } => 100.0 * top1,
            Score::Error { mean_abs_err, .. } => mean_abs_err,
        };
        Some((format!("L{number}"), (ms, quality)))
    };
    let points: Vec<_> = evaluation
        .levels
        .iter()
        .enumerate()
        .filter_map(point)
        .collect();
    let x = match is_bench {
        true => "median time of a run, ms",
        false => "fastest run of the evaluation, ms",
    };
    let caption = html! {
        @if is_bench { "Time from bench, quality from eval." }
        @else {
            "Time is that of the fastest run while evaluating; " code { "--bench bench.json" } " gives the median of many."
        }
        @if points.len() < evaluation.levels.len() { " Levels that bench did not measure are not shown." }
    };
    let front = Front {
        label: format!("{y} against {x}, one point per level"),
        x: x.into(),
        y,
        series: vec![Series {
            name: "levels",
            colour: ACCENT,
            points,
        }],
    };
    Some((front, caption))
}

/// Planned levels beside those that give all layers one level.
fn planned(plan: &Plan) -> (Front, Markup) {
    let has_labels = plan
        .levels
        .iter()
        .chain(&plan.uniform)
        .all(|level| level.top1.is_some());
    let y = match has_labels {
        true => "top-1 accuracy, %",
        false => "loss against the highest level",
    };
    let series = |name: &'static str, colour: RGBColor, levels: &[PlannedLevel]| Series {
        name,
        colour,
        points: levels
            .iter()
            .map(|level| {
                let quality = match level.top1.filter(|_| has_labels) {
                    Some(top1) => 100.0 * top1,
                    None => level.loss,
                };
                (level.name.clone(), (level.cost, quality))
            })
            .collect(),
    };
    let x = format!("{} of a run", plan.cost);
    let front = Front {
        label: format!("{y} against {x}, for planned and for uniform levels"),
        x,
        y,
        series: vec![
            series("uniform", MUTED, &plan.uniform),
            series("planned", ACCENT, &plan.levels),
        ],
    };
    let caption = html! {
        "Uniform levels have all layers at the same level; planned ones have each layer at its own. Both on the samples of the plan."
    };
    (front, caption)
}

impl Front {
    fn render(&self, caption: &Markup) -> Markup {
        let height = |width: Width| match width {
            Width::Wide => 380,
            Width::Narrow => 280,
        };
        plot::figure(&self.label, caption, height, |area, width| {
            self.draw(area, width)
        })
    }

    fn draw<'a>(&self, area: &Area<'a>, width: Width) -> Drawn<'a> {
        let font = width.font_px();
        let points = || {
            self.series
                .iter()
                .flat_map(|series| series.points.iter().map(|(_, at)| *at))
        };
        let x = plot::from_zero(points().map(|(x, _)| x).fold(0.0, f64::max));
        let y = padded(points().map(|(_, y)| y));
        let (x_step, y_step) = (x.end / width.n_labels() as f64, (y.end - y.start) / 6.0);
        let (x_number, y_number) = (
            |value: &f64| plot::tick(*value, x_step),
            |value: &f64| plot::tick(*value, y_step),
        );
        // The heading of the vertical axis stands above it: turned letters are hard to read.
        let heading = plot::text(width, INK, Pos::new(HPos::Left, VPos::Top));
        area.draw_text(self.y, &heading, (2, 2))?;
        let y_digits = [y.start, y.end].map(|end| plot::tick(end, y_step).len() as i32);
        let y_px = (y_digits[0].max(y_digits[1]) + 2) * font * 6 / 10 + 10;
        let mut chart = ChartBuilder::on(area)
            .margin_top(font + 14)
            .margin_right(18)
            .set_label_area_size(LabelAreaPosition::Left, y_px)
            .set_label_area_size(LabelAreaPosition::Bottom, 3 * font + 4)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(width.n_labels())
            .y_labels(6)
            .x_label_formatter(&x_number)
            .y_label_formatter(&y_number)
            .x_label_style(plot::text(width, INK, Pos::new(HPos::Center, VPos::Top)))
            .y_label_style(plot::text(width, INK, Pos::new(HPos::Right, VPos::Center)))
            .axis_desc_style(plot::text(width, INK, Pos::new(HPos::Center, VPos::Top)))
            .x_desc(self.x.as_str())
            .draw()?;
        for series in &self.series {
            let line = series.points.iter().map(|(_, at)| *at);
            chart.draw_series(LineSeries::new(line.clone(), series.colour.stroke_width(2)))?;
            chart.draw_series(line.map(|at| Circle::new(at, POINT_PX, series.colour.filled())))?;
        }
        // Names of the last series only: two would stand on each other.
        let mut taken: Vec<Place> = points()
            .map(|at| Place::of_point(chart.backend_coord(&at)))
            .collect();
        for (name, at) in self.series.last().map_or(&[][..], |series| &series.points) {
            let places = Place::around(chart.backend_coord(at), name, font);
            let is_free = |place: &Place| {
                place.is_inside(area.dim_in_pixel())
                    && !taken.iter().any(|other| other.touches(place))
            };
            if let Some(place) = places.into_iter().find(is_free) {
                let style = plot::text(width, INK, Pos::new(HPos::Left, VPos::Top));
                area.draw_text(name, &style, (place.left, place.top))?;
                taken.push(place);
            }
        }
        Ok(())
    }

    /// The numbers of the plot.
    fn table(&self) -> Markup {
        let is_percent = self.y.ends_with('%');
        html! {
            @if self.series.len() > 1 {
                ul.legend aria-label="colours of the lines" {
                    @for series in &self.series {
                        li { span class=(format!("swatch {}", series.name)) {} (series.name) }
                    }
                }
            }
            div.scroll tabindex="0" role="group" aria-label=(format!("table: {}", self.label)) {
                table {
                    thead {
                        tr {
                            @if self.series.len() > 1 { th.word scope="col" { "levels" } }
                            th scope="col" { "level" }
                            th scope="col" { (self.x) }
                            th scope="col" { (self.y) }
                        }
                    }
                    tbody {
                        @for series in &self.series {
                            @for (name, (x, y)) in &series.points {
                                tr {
                                    @if self.series.len() > 1 { td.word { (series.name) } }
                                    th scope="row" { (name) }
                                    td { (cost(*x)) }
                                    td { @if is_percent { (format!("{y:.2}")) } @else { (format!("{y:.3e}")) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A rectangle of the plot that a name or a point takes, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

impl Place {
    fn of_point((x, y): (i32, i32)) -> Self {
        Self {
            left: x - POINT_PX,
            top: y - POINT_PX,
            right: x + POINT_PX,
            bottom: y + POINT_PX,
        }
    }

    /// Where the name of the point at `(x, y)` may stand, the best place first: fronts rise, so that there is room at the
    /// lower right and at the upper left.
    fn around((x, y): (i32, i32), name: &str, font_px: i32) -> [Self; 4] {
        const GAP_PX: i32 = POINT_PX + 2;

        // Letters are about 0.6 of their height wide.
        let (across, down) = (name.chars().count() as i32 * font_px * 6 / 10, font_px);
        let at = |left: i32, top: i32| Self {
            left,
            top,
            right: left + across,
            bottom: top + down,
        };
        [
            at(x + GAP_PX, y + 3),
            at(x - GAP_PX - across, y - 3 - down),
            at(x - across / 2, y + GAP_PX),
            at(x - across / 2, y - GAP_PX - down),
        ]
    }

    fn touches(&self, other: &Self) -> bool {
        let across = self.left < other.right && other.left < self.right;
        let down = self.top < other.bottom && other.top < self.bottom;
        across && down
    }

    fn is_inside(&self, (width, height): (u32, u32)) -> bool {
        self.left >= 0
            && self.top >= 0
            && self.right <= width as i32
            && self.bottom <= height as i32
    }
}

/// Milliseconds, or counts.
fn cost(value: f64) -> String {
    match value >= 1e4 {
        true => table::count(value as u64),
        false => table::milliseconds(value),
    }
}

/// A little more than all `values`, of which there may be none, and which may all be equal.
fn padded(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let ends = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    match ends {
        (low, high) if low < high => {
            let pad = 0.1 * (high - low);
            low - pad..high + pad
        }
        (low, _) if low.is_finite() => {
            let pad = (0.05 * low.abs()).max(1e-6);
            low - pad..low + pad
        }
        _ => 0.0..1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_avoid_each_other_and_the_edge() {
        let [best, other, ..] = Place::around((100, 100), "L10", 10);
        assert!(!best.touches(&other) && !best.touches(&Place::of_point((100, 100))));
        assert!(best.touches(&Place::of_point((108, 104))));
        assert!(best.is_inside((200, 200)) && !best.is_inside((110, 200)));
    }

    #[test]
    fn an_axis_has_a_length_whatever_the_values() {
        for values in [&[][..], &[0.0], &[5.0, 5.0], &[1.0, 2.0]] {
            let range = padded(values.iter().copied());
            assert!(
                range.start < range.end && range.end.is_finite(),
                "{range:?}"
            );
            assert!(values.iter().all(|value| range.contains(value)));
        }
    }
}
