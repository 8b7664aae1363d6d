//! The live view: identities, decisions, and a menu of requests to try.

use std::collections::VecDeque;
use std::io::{IsTerminal, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::event::KeyCode;
use tokio::sync::mpsc;

use crate::commands::stopped;
use crate::failure::Failure;
use crate::output;
use crate::up::decisions::Decision;
use crate::up::identities::Identities;
use crate::up::layout::TRUST_DOMAIN;
use crate::up::menu::{self, Call};
use crate::up::screen::Screen;
use crate::up::trickle::{PATH, Tally, Trickle};
use crate::up::world::World;

mod frame;

/// Pause between two frames.
const FRAME: Duration = Duration::from_millis(250);
/// Decisions kept for display.
const KEPT: usize = 200;

/// What a frame shows.
#[derive(Debug)]
struct Shown {
    identities: Identities,
    decisions: VecDeque<Decision>,
    calls: Vec<Call>,
    tally: Arc<Tally>,
    begun: Instant,
    /// The last call made from the menu, and what it saw.
    tried: Option<String>,
}

/// Shows the world until the user leaves (q, Ctrl-C, SIGTERM), then stops it.
pub(crate) async fn run(world: World) -> Result<(), Failure> {
    let tally = Arc::new(Tally::default());
    let trickle = Trickle::start(world.layout.client_listen, Arc::clone(&tally));
    let mut shown = Shown {
        identities: Identities::default(),
        decisions: VecDeque::new(),
        calls: menu::calls(&world.layout),
        tally,
        begun: Instant::now(),
        tried: None,
    };
    let mut world = world;
    let outcome = if stdout().is_terminal() {
        on_terminal(&mut world, &mut shown).await
    } else {
        as_lines(&mut world, &mut shown).await
    };
    trickle.stop().await;
    let (sent, failed) = (shown.tally.sent(), shown.tally.failed());
    output::line(&format!(
        "stopping; {failed} of {sent} requests of the trickle failed"
    ))?;
    if let Some(first) = shown.tally.first_failure() {
        output::line(&format!("the first failure: {first}"))?;
    }
    let stopped = world.stop().await;
    outcome.and(stopped)
}

async fn on_terminal(world: &mut World, shown: &mut Shown) -> Result<(), Failure> {
    let (mut screen, mut keys) = Screen::open()?;
    let (report, mut reports) = mpsc::unbounded_channel();
    let mut ended = std::pin::pin!(stopped());
    let mut tick = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                refresh(world, shown).await?;
                screen.draw(|width, height| frame::lines(shown, width, height))?;
            }
            key = keys.recv() => match key {
                None | Some(KeyCode::Char('q') | KeyCode::Esc) => return Ok(()),
                Some(KeyCode::Char(digit)) => {
                    if let Some(call) = chosen(&shown.calls, digit) {
                        shown.tried = Some(format!("{} …", call.line()));
                        let report = report.clone();
                        tokio::spawn(async move {
                            let seen = match call.make().await {
                                Ok(seen) => seen.to_string(),
                                Err(failure) => failure.chain(),
                            };
                            // The view may have been left meanwhile.
                            report.send(format!("{}\n   → {seen}", call.title)).ok();
                        });
                    }
                }
                Some(_) => {}
            },
            Some(text) = reports.recv() => shown.tried = Some(text),
            () = &mut ended => return Ok(()),
        }
    }
}

/// Without a terminal: each decision that is not the trickle's as a line, the menu once.
async fn as_lines(world: &mut World, shown: &mut Shown) -> Result<(), Failure> {
    for (index, call) in shown.calls.iter().enumerate() {
        output::line(&format!(
            "try {}: {} — {}",
            index + 1,
            call.title,
            call.line()
        ))?;
    }
    let mut ended = std::pin::pin!(stopped());
    let mut tick = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                refresh(world, shown).await?;
                for decision in shown.decisions.drain(..) {
                    output::line(&frame::decision(&decision))?;
                }
            }
            () = &mut ended => return Ok(()),
        }
    }
}

async fn refresh(world: &mut World, shown: &mut Shown) -> Result<(), Failure> {
    if let Some(casualty) = world.casualty() {
        return Err(Failure::Check(casualty));
    }
    let unreadable = |error| Failure::part("Envoy's log", error);
    let mut fresh = world.inbound.next().map_err(unreadable)?;
    fresh.extend(world.outbound.next().map_err(unreadable)?);
    fresh.sort_by(|a, b| a.time.total_cmp(&b.time));
    let told =
        |decision: &Decision| decision.verdict != "allow" || decision.path.as_deref() != Some(PATH);
    shown.decisions.extend(fresh.into_iter().filter(told));
    while shown.decisions.len() > KEPT {
        shown.decisions.pop_front();
    }
    shown.identities.refresh(&mut world.admin).await
}

fn chosen(calls: &[Call], digit: char) -> Option<Call> {
    let number = usize::try_from(digit.to_digit(10)?).ok()?;
    calls.get(number.checked_sub(1)?).cloned()
}

/// The head line's left part.
fn title() -> String {
    format!("Countersign · {TRUST_DOMAIN}")
}
