//! Progress on standard error: only on a terminal, and only for what takes longer than a second.

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nobody needs to be told of less.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// A bar for work of known length.
pub struct Progress {
    bar: ProgressBar,
    is_shown: bool,
}

impl Progress {
    /// A bar for `n_steps` steps of `what`.
    pub fn new(what: &'static str, n_steps: u64) -> Progress {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")
            .expect("the template is constant");
        let bar = ProgressBar::with_draw_target(Some(n_steps), ProgressDrawTarget::hidden())
            .with_style(style)
            .with_message(what);
        Progress {
            bar,
            is_shown: false,
        }
    }

    /// Says that `n_done` steps are done.
    pub fn set(&mut self, n_done: u64) {
        if !self.is_shown && self.bar.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            // A step may take long: the time that is left goes down meanwhile.
            self.bar.enable_steady_tick(PATIENCE);
            self.is_shown = true;
        }
        self.bar.set_position(n_done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A spinner for work of unknown length, with the name of the stage it is in.
pub struct Spinner {
    bar: ProgressBar,
    /// Shows the bar when it has waited long enough; ends when the sender goes.
    patience: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Spinner {
    /// A spinner that shows after a second.
    pub fn new() -> Spinner {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let patience = std::io::stderr().is_terminal().then(|| {
            let (sender, receiver) = mpsc::channel();
            let bar = bar.clone();
            let wait = move || {
                if receiver.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(TICK);
                }
            };
            (sender, thread::spawn(wait))
        });
        Spinner { bar, patience }
    }

    /// Names the stage that begins.
    pub fn stage(&self, name: &str) {
        self.bar.set_message(name.to_string());
    }

    /// Writes to standard error without a clash with the spinner.
    pub fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some((sender, waiting)) = self.patience.take() {
            drop(sender);
            let _ = waiting.join();
        }
        self.bar.finish_and_clear();
    }
}
