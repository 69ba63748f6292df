//! The command line as users and scripts see it: results, JSON keys, exact diagnostics, exit codes, and that a failure
//! leaves nothing behind.

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/compile.rs"]
mod compile;
#[path = "cli/diagnostics.rs"]
mod diagnostics;
#[path = "cli/eval.rs"]
mod eval;
#[path = "cli/folder.rs"]
mod folder;
#[path = "cli/inspect.rs"]
mod inspect;
#[path = "cli/lists.rs"]
mod lists;
#[path = "cli/merge.rs"]
mod merge;
#[path = "cli/models.rs"]
mod models;
#[path = "cli/nest.rs"]
mod nest;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/plan.rs"]
mod plan;
#[path = "cli/profile.rs"]
mod profile;
#[path = "cli/report.rs"]
mod report;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/simulate.rs"]
mod simulate;
#[path = "cli/tune.rs"]
mod tune;
