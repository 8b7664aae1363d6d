//! The terminal while the live view has it, and given back whatever happens.

use std::io::{self, Stdout, Write, stdout};
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{Clear, ClearType};
use crossterm::{cursor, event, queue, terminal};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// The terminal in raw mode on its alternate screen; dropping it restores it.
#[derive(Debug)]
pub(crate) struct Screen {
    out: Stdout,
}

impl Screen {
    /// Takes the terminal; the second part gives the keys pressed, and ends with Ctrl-C.
    pub(crate) fn open() -> Result<(Self, mpsc::UnboundedReceiver<KeyCode>), Failure> {
        terminal::enable_raw_mode().map_err(Failure::Output)?;
        let mut screen = Self { out: stdout() };
        queue!(screen.out, terminal::EnterAlternateScreen, cursor::Hide)
            .map_err(Failure::Output)?;
        let (keys, receiver) = mpsc::unbounded_channel();
        std::thread::spawn(move || read_keys(&keys));
        Ok((screen, receiver))
    }

    /// Draws a frame; lines are cut to the terminal's width.
    pub(crate) fn draw(
        &mut self,
        frame: impl FnOnce(usize, usize) -> Vec<String>,
    ) -> Result<(), Failure> {
        let (width, height) = terminal::size().map_err(Failure::Output)?;
        let (width, height) = (usize::from(width), usize::from(height));
        self.put(&frame(width, height), width, height)
            .map_err(Failure::Output)
    }

    fn put(&mut self, lines: &[String], width: usize, height: usize) -> io::Result<()> {
        for (row, line) in lines.iter().take(height).enumerate() {
            let Ok(row) = u16::try_from(row) else { break };
            let cut: String = line.chars().take(width).collect();
            queue!(
                self.out,
                cursor::MoveTo(0, row),
                Print(cut),
                Clear(ClearType::UntilNewLine)
            )?;
        }
        // Below the last line: what an earlier, longer frame left there.
        if lines.len() < height {
            queue!(self.out, Print("\r\n"), Clear(ClearType::FromCursorDown))?;
        }
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing better can be done where the terminal is gone.
        queue!(self.out, cursor::Show, terminal::LeaveAlternateScreen).ok();
        self.out.flush().ok();
        terminal::disable_raw_mode().ok();
    }
}

/// Raw mode makes Ctrl-C a key like any other, so it is told apart here.
fn read_keys(keys: &mpsc::UnboundedSender<KeyCode>) {
    const POLL: Duration = Duration::from_millis(200);
    while !keys.is_closed() {
        match event::poll(POLL) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let Ok(Event::Key(key)) = event::read() else {
            continue;
        };
        let interrupt =
            key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if interrupt || (key.kind == KeyEventKind::Press && keys.send(key.code).is_err()) {
            return;
        }
    }
}
