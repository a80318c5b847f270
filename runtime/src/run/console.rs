//! The terminal, shared by a live line, log lines and printed records.
//!
//! The live line is the last line and has no line end. Whoever writes lines takes it away first and puts it back
//! afterwards, so that neither tears the other. Records go through here only if they go to the terminal: whoever reads a
//! pipe slowly must not hold up the log.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// To the first column, and erase the line.
const ERASE: &[u8] = b"\r\x1b[2K";
/// Columns of a terminal that does not tell.
const DEFAULT_WIDTH: usize = 80;

/// The terminal. Clones share it.
#[derive(Clone)]
pub(crate) struct Console {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    live: String,
    terminal: Box<dyn Write + Send>,
    /// The same terminal, under its other name.
    stdout: Box<dyn Write + Send>,
}

impl Console {
    /// Standard error and standard output of this process.
    pub(crate) fn new() -> Self {
        Self::over(Box::new(io::stderr()), Box::new(io::stdout()))
    }

    fn over(terminal: Box<dyn Write + Send>, stdout: Box<dyn Write + Send>) -> Self {
        Self { shared: Arc::new(Mutex::new(Shared { live: String::new(), terminal, stdout })) }
    }

    /// Whether there is a terminal to draw on.
    pub(crate) fn is_terminal() -> bool {
        io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
    }

    /// Draws the live line, or takes it away if it is empty. A terminal that is gone is nobody's concern.
    pub(crate) fn draw(&self, line: &str) {
        let mut shared = self.shared.lock();
        shared.live = cut(line, width());
        let _ = shared.erase().and_then(|()| shared.redraw());
    }

    /// A writer of log lines.
    pub(crate) fn log(&self) -> Lines {
        Lines { console: self.clone(), to_stdout: false }
    }

    /// A writer of printed records, if they go to the terminal.
    pub(crate) fn records(&self) -> Option<Lines> {
        io::stdout().is_terminal().then(|| Lines { console: self.clone(), to_stdout: true })
    }
}

impl Shared {
    fn erase(&mut self) -> io::Result<()> {
        self.terminal.write_all(ERASE)
    }

    fn redraw(&mut self) -> io::Result<()> {
        self.terminal.write_all(self.live.as_bytes())?;
        self.terminal.flush()
    }

    fn write_lines(&mut self, lines: &[u8], to_stdout: bool) -> io::Result<()> {
        let drawn = !self.live.is_empty();
        if drawn {
            // The live line is a nicety: failing to draw it must not fail the job.
            let _ = self.erase().and_then(|()| self.terminal.flush());
        }
        let output = if to_stdout { &mut self.stdout } else { &mut self.terminal };
        let written = output.write_all(lines).and_then(|()| output.flush());
        if drawn {
            let _ = self.redraw();
        }
        written
    }
}

/// Writes whole lines through the console.
#[derive(Clone)]
pub(crate) struct Lines {
    console: Console,
    to_stdout: bool,
}

impl Write for Lines {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.console.shared.lock().write_lines(lines, self.to_stdout)?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn width() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
}

/// Cut to the terminal's width, so that the line never wraps: only one line can be erased.
fn cut(line: &str, width: usize) -> String {
    line.chars().take(width.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn shows(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    #[test]
    fn lines_take_the_live_line_away_and_put_it_back() {
        let screen = Screen::default();
        let console = Console::over(Box::new(screen.clone()), Box::new(screen.clone()));
        let mut records = Lines { console: console.clone(), to_stdout: true };
        console.log().write_all(b"early\n").unwrap();
        console.draw("live");
        console.log().write_all(b"log\n").unwrap();
        records.write_all(b"record\n").unwrap();
        console.draw("");
        console.log().write_all(b"late\n").unwrap();
        let erase = "\r\u{1b}[2K";
        assert_eq!(screen.shows(), format!("early\n{erase}live{erase}log\nlive{erase}record\nlive{erase}late\n"));
    }

    #[test]
    fn a_live_line_never_wraps() {
        assert_eq!(cut("äbcdef", 4), "äbc");
        assert_eq!(cut("abc", 0), "");
    }
}
