//! What is shown of progress: a bar on a terminal, and lines in a file, where nothing can be drawn over.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::observer::{Progress, Work};

/// The shortest time between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// How far some work is, and how fast this process does it.
#[derive(Debug)]
struct Pace {
    work: Work,
    begun: Instant,
    /// What was done before this process began, which is no measure of its speed.
    before: u64,
    position: u64,
    length: Option<u64>,
    /// When the position last changed. Work goes on in steps of up to seconds, and slows down only in appearance between two.
    moved: Instant,
}

impl Pace {
    fn new(work: Work, now: Instant) -> Self {
        let (length, before) = match work {
            Work::Tokenizing => (None, 0),
            Work::Encoding { tokens, done } => (Some(tokens), done),
            Work::Reading(length) | Work::Probing(length) => (Some(length), 0),
            Work::Downloading => (Some(0), 0),
        };
        Self { work, begun: now, before, position: before, length, moved: now }
    }

    fn reach(&mut self, position: u64, now: Instant) {
        (self.position, self.moved) = (position, now);
    }

    /// Units per second, once there is something to tell it from.
    fn speed(&self) -> Option<f64> {
        let done = self.position.checked_sub(self.before).filter(|&done| done > 0)?;
        let seconds = self.moved.duration_since(self.begun).as_secs_f64();
        (seconds > 0.0).then(|| done as f64 / seconds)
    }

    /// The time that the rest takes at this speed; a second at least, as long as there is a rest.
    fn time_left(&self, now: Instant) -> Option<Duration> {
        let left = self.length?.checked_sub(self.position).filter(|&left| left > 0)?;
        let seconds = left as f64 / self.speed()? - now.duration_since(self.moved).as_secs_f64();
        Duration::try_from_secs_f64(seconds.max(1.0)).ok()
    }

    fn percent(&self) -> Option<u64> {
        let length = self.length.filter(|&length| length > 0)?;
        u64::try_from(u128::from(self.position.min(length)) * 100 / u128::from(length)).ok()
    }

    /// `1.23M/4.56M tokens, 7,890/s, 7m 12s left`.
    fn amounts(&self, now: Instant) -> String {
        let (unit, is_bytes) = match self.work {
            Work::Tokenizing => (" texts", false),
            Work::Encoding { .. } => (" tokens", false),
            Work::Probing(_) => (" layers", false),
            Work::Reading(_) | Work::Downloading => ("", true),
        };
        let amount = |count: u64| if is_bytes { format!("{}B", short(count)) } else { short(count) };
        let of = self.length.map(|length| format!("/{}", amount(length))).unwrap_or_default();
        let mut text = format!("{}{of}{unit}", amount(self.position));
        if matches!(self.work, Work::Probing(_)) {
            text.push_str(&format!(", {}", rough(now.duration_since(self.begun))));
        } else if let Some(speed) = self.speed() {
            text.push_str(&format!(", {}/s", amount(speed.max(1.0) as u64)));
        }
        if let Some(left) = self.time_left(now) {
            text.push_str(&format!(", {} left", rough(left)));
        }
        text
    }

    /// The same with what is being done, for a line of its own.
    fn line(&self, now: Instant) -> String {
        let percent = self.percent().map(|percent| format!("{percent}% ")).unwrap_or_default();
        let what = match self.work {
            Work::Tokenizing => "tokenizing",
            Work::Encoding { .. } => "encoding",
            Work::Reading(_) => "reading",
            Work::Probing(_) => "probing",
            Work::Downloading => "downloading",
        };
        format!("{what}: {percent}{}", self.amounts(now))
    }
}

/// A number in at most seven characters: `999,999`, `1.23M`.
fn short(count: u64) -> String {
    if count < 1_000_000 {
        return HumanCount(count).to_string();
    }
    let (mut number, mut unit) = (count as f64 / 1e6, "M");
    for larger in ["G", "T", "P", "E"] {
        if number >= 999.5 {
            (number, unit) = (number / 1e3, larger);
        }
    }
    let decimals = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.decimals$}{unit}")
}

/// A time in its two largest units: `45s`, `3m 20s`, `2h 5m`, `4d 3h`.
pub(super) fn rough(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        86400..86_400_000 => format!("{}d {}h", seconds / 86400, seconds / 3600 % 24),
        _ => ">999d".to_owned(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What shows a [`Pace`].
trait Shows: Send + Sync {
    /// Changes the pace, and shows it where it is time to.
    fn update(&self, change: impl FnOnce(&mut Pace));

    /// What is being done right now.
    fn say(&self, _message: &str) {}
}

impl<S: Shows> Progress for S {
    fn advance(&self, by: u64) {
        self.update(|pace| pace.reach(pace.position + by, Instant::now()));
    }

    fn retreat(&self, by: u64) {
        self.update(|pace| pace.reach(pace.position.saturating_sub(by), Instant::now()));
    }

    fn reach(&self, position: u64) {
        self.update(|pace| pace.reach(position, Instant::now()));
    }

    fn expect(&self, more: u64) {
        self.update(|pace| pace.length = pace.length.map(|length| length + more));
    }

    fn say(&self, message: &str) {
        Shows::say(self, message);
    }
}

/// A bar that vanishes at the end of the work. It fits 60 columns.
pub(super) struct Bar {
    bar: ProgressBar,
    pace: Arc<Mutex<Pace>>,
}

impl Bar {
    pub(super) fn on_terminal(work: Work) -> Self {
        Self::on(work, ProgressDrawTarget::stderr_with_hz(10))
    }

    fn on(work: Work, target: ProgressDrawTarget) -> Self {
        let template = match work {
            Work::Tokenizing => "{spinner} tokenizing: {amounts}",
            Work::Downloading => "{bar:10} {percent:>3}% {amounts}, {msg}",
            _ => "{bar:10} {percent:>3}% {amounts}",
        };
        let pace = Pace::new(work, Instant::now());
        let bar = ProgressBar::with_draw_target(pace.length, target).with_position(pace.position);
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let pace = Arc::new(Mutex::new(pace));
        let told = Arc::clone(&pace);
        let amounts = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = out.write_str(&locked(&told).amounts(Instant::now()));
        };
        bar.set_style(style.with_key("amounts", amounts));
        // Draws at once, as the thread that draws from then on may come too late for a short job.
        bar.tick();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, pace }
    }

    /// The bar itself, so that messages can be printed beside it.
    pub(super) fn handle(&self) -> ProgressBar {
        self.bar.clone()
    }
}

impl Shows for Bar {
    fn update(&self, change: impl FnOnce(&mut Pace)) {
        let (position, length) = {
            let mut pace = locked(&self.pace);
            change(&mut pace);
            (pace.position, pace.length)
        };
        length.iter().for_each(|&length| self.bar.set_length(length));
        self.bar.set_position(position);
    }

    fn say(&self, message: &str) {
        self.bar.set_message(message.to_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Lines for a log: one at the beginning if it is wanted, then at most one in 30 seconds, and one at the end of work that had one
/// before.
pub(super) struct LogLines<W: Fn(&str) + Send + Sync> {
    pace: Mutex<Pace>,
    last: Mutex<Option<Instant>>,
    between: Duration,
    write: W,
}

impl<W: Fn(&str) + Send + Sync> LogLines<W> {
    /// `at_once` says whether short work has lines, too.
    pub(super) fn new(work: Work, at_once: bool, write: W) -> Self {
        Self::with_interval(work, at_once, BETWEEN_LINES, write)
    }

    fn with_interval(work: Work, at_once: bool, between: Duration, write: W) -> Self {
        let now = Instant::now();
        let lines =
            Self { pace: Mutex::new(Pace::new(work, now)), last: Mutex::new(at_once.then_some(now)), between, write };
        if at_once {
            lines.print();
        }
        lines
    }

    fn print(&self) {
        let line = locked(&self.pace).line(Instant::now());
        (self.write)(&line);
    }
}

impl<W: Fn(&str) + Send + Sync> Shows for LogLines<W> {
    fn update(&self, change: impl FnOnce(&mut Pace)) {
        let begun = {
            let mut pace = locked(&self.pace);
            change(&mut pace);
            pace.begun
        };
        let is_due = {
            let (mut last, now) = (locked(&self.last), Instant::now());
            let is_due = now.duration_since(last.unwrap_or(begun)) >= self.between;
            if is_due {
                *last = Some(now);
            }
            is_due
        };
        if is_due {
            self.print();
        }
    }
}

impl<W: Fn(&str) + Send + Sync> Drop for LogLines<W> {
    fn drop(&mut self) {
        if locked(&self.last).is_some() {
            self.print();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn after(seconds: u64, begun: Instant) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    #[test]
    fn work_that_goes_on_begins_where_it_was_and_is_as_fast_as_it_is() {
        let begun = Instant::now();
        let mut pace = Pace::new(Work::Encoding { tokens: 1_000_000, done: 900_000 }, begun);
        assert_eq!(pace.line(begun), "encoding: 90% 900,000/1.00M tokens", "no speed is known yet");
        pace.reach(910_000, after(10, begun));
        assert_eq!(pace.line(after(10, begun)), "encoding: 91% 910,000/1.00M tokens, 1,000/s, 1m 30s left");
        assert_eq!(pace.line(after(13, begun)), "encoding: 91% 910,000/1.00M tokens, 1,000/s, 1m 27s left");
        assert!(pace.line(after(500, begun)).ends_with(", 1s left"), "never none, while there is work");
        pace.reach(1_000_000, after(100, begun));
        assert_eq!(pace.line(after(100, begun)), "encoding: 100% 1.00M/1.00M tokens, 1,000/s");
    }

    /// A terminal that remembers what was written on it.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl indicatif::TermLike for Paper {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(line)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            locked(&self.0).push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_is_drawn_from_where_the_work_begins() {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(paper.clone()), 200);
        let bar = Bar::on(Work::Encoding { tokens: 1000, done: 900 }, target);
        let drawn = |what: &str| {
            let begun = Instant::now();
            while !locked(&paper.0).contains(what) {
                assert!(begun.elapsed() < Duration::from_secs(20), "{what} is not drawn: {}", locked(&paper.0));
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        drawn(" 90% 900/1,000 tokens");
        std::thread::sleep(Duration::from_millis(10));
        bar.advance(50);
        drawn(" 95% 950/1,000 tokens, ");
        assert!(!locked(&paper.0).contains(" 0%"));
    }

    #[test]
    fn slow_work_is_not_said_to_stand_still() {
        let begun = Instant::now();
        let mut pace = Pace::new(Work::Encoding { tokens: 100, done: 0 }, begun);
        pace.reach(1, after(60, begun));
        assert_eq!(pace.amounts(after(60, begun)), "1/100 tokens, 1/s, 1h 39m left");
    }

    #[test]
    fn a_bar_fits_sixty_columns() {
        let begun = Instant::now();
        for (length, position, seconds) in [
            (999_999, 999_998, 3),
            (12_345_678, 999_999, 100),
            (999_499_999, 123_456_789, 90_000),
            (99_949_999_999, 11_111_111_111, 400_000),
            (u64::MAX, 1 << 50, 40_000_000),
        ] {
            for work in [Work::Encoding { tokens: length, done: 0 }, Work::Reading(length)] {
                let mut pace = Pace::new(work, begun);
                pace.reach(position, after(seconds, begun));
                let bar = format!("{} 100% {}", "#".repeat(10), pace.amounts(after(seconds, begun)));
                assert!(bar.len() <= 60, "{bar} has {} columns", bar.len());
            }
        }
    }

    #[test]
    fn numbers_and_times_are_short() {
        for (count, shown) in [
            (0, "0"),
            (999_999, "999,999"),
            (1_234_567, "1.23M"),
            (12_345_678, "12.3M"),
            (999_600_000, "1.00G"),
            (123_456_789_012, "123G"),
        ] {
            assert_eq!(short(count), shown);
        }
        for (seconds, shown) in [(1, "1s"), (61, "1m 1s"), (7500, "2h 5m"), (360_000, "4d 4h")] {
            assert_eq!(rough(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn a_log_has_a_line_at_the_beginning_some_on_the_way_and_one_at_the_end() {
        let said = Mutex::new(Vec::new());
        let write = |line: &str| locked(&said).push(line.to_owned());
        let lines =
            LogLines::with_interval(Work::Encoding { tokens: 100, done: 0 }, true, Duration::from_secs(3600), write);
        (0..100).for_each(|_| lines.advance(1));
        drop(lines);
        let lines = std::mem::take(&mut *locked(&said));
        assert_eq!((lines.len(), &*lines[0]), (2, "encoding: 0% 0/100 tokens"));
        assert!(lines[1].starts_with("encoding: 100% 100/100 tokens"), "{lines:?}");

        let lines = LogLines::with_interval(Work::Encoding { tokens: 3, done: 0 }, false, Duration::ZERO, write);
        (0..3).for_each(|_| lines.advance(1));
        drop(lines);
        assert_eq!(std::mem::take(&mut *locked(&said)).len(), 4);

        let lines =
            LogLines::with_interval(Work::Encoding { tokens: 3, done: 0 }, false, Duration::from_secs(3600), write);
        (0..3).for_each(|_| lines.advance(1));
        drop(lines);
        assert_eq!(locked(&said).len(), 0, "work that is short is not spoken of");
    }
}
