//! The levels with all that is known of them, one row each.

use maud::{Markup, html};

use super::{Subject, table};
use crate::cli::eval::Score;

/// The section.
pub fn section(subject: &Subject) -> Markup {
    let results = &subject.results;
    let scores = results.evaluation.as_ref().map(|found| &found.levels);
    let headings: Option<[&str; 2]> =
        scores
            .and_then(|levels| levels.first())
            .map(|level| match level.score {
                Score::Accuracy { .. } => ["top-1", "top-5"],
                Score::Error { .. } => ["max error", "mean error"],
            });
    html! {
        div.scroll tabindex="0" role="group" aria-label="table of the levels" {
            table {
                thead {
                    tr {
                        th scope="col" { "level" }
                        th scope="col" { "name" }
                        th scope="col" { "density" }
                        th scope="col" { "MACs" }
                        th scope="col" { "weights read" }
                        th scope="col" { "cycles, predicted" }
                        @for heading in headings.iter().flatten() { th scope="col" { (heading) } }
                        @if results.benchmark.is_some() { th scope="col" { "median ms" } }
                    }
                }
                tbody {
                    @for (number, level) in subject.manifest.levels.iter().enumerate() {
                        tr {
                            th scope="row" { "L" (number) }
                            td.word { (level.name) }
                            td { (table::fraction(level.density)) }
                            td { (table::count(level.macs)) }
                            td { (table::bytes(level.weight_bytes)) }
                            td { (table::count(level.predicted_cycles)) }
                            @if let Some(scores) = scores {
                                @for score in score_cells(scores[number].score) { td { (score) } }
                            }
                            @if results.benchmark.is_some() {
                                td { (results.median_ms(number).map_or("-".into(), table::milliseconds)) }
                            }
                        }
                    }
                }
            }
        }
        p.note {
            "Density is the kept share of the weights of layers that have masks; MACs are multiply-adds of one run. "
            @if let Some(evaluation) = &results.evaluation {
                "Measured on " (evaluation.samples) @if evaluation.samples == 1 { " sample. " } @else { " samples. " }
            } @else {
                "For the quality of the levels: " code { "condensec eval .. --json > eval.json" } ", then " code { "--eval eval.json" } ". "
            }
            @if let Some(benchmark) = &results.benchmark {
                "Time with " (benchmark.threads) @if benchmark.threads == 1 { " thread" } @else { " threads" }
                "; a switch of the level takes " (format!("{:.1}", benchmark.switch_ns)) " ns."
            }
        }
    }
}

fn score_cells(score: Score) -> [String; 2] {
    match score {
        Score::Accuracy { top1, top5 } => [top1, top5].map(table::fraction),
        Score::Error {
            max_abs_err,
            mean_abs_err,
        } => [max_abs_err, mean_abs_err].map(|error| format!("{error:.3e}")),
    }
}
