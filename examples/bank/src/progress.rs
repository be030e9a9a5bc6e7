//! Progress bars with rate and remaining time; nothing is drawn where the output is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

pub fn bar(what: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    let style = "{msg:<12} {wide_bar} {pos}/{len}  {per_sec:>12}  {eta:>4} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
