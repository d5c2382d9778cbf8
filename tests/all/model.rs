//! The rules of `docs/safety.md` as a small machine, every order of whose steps is tried: a run, its guardian, a command that is
//! slow, `chaos revert`, a second run; killed, without power, on a full disk, with the run's folder deleted, at each step.
//!
//! The model checker is stateright. Each rule can be broken, and then a promise must fall: a model that finds nothing proves
//! nothing.

use std::collections::BTreeSet;

use stateright::{Checker, Model, Property};

/// What the code keeps to.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// The undo, and that it is about to be needed, are on the disk before anything is broken.
    syncs_first: bool,
    /// Where that cannot be written, nothing is broken.
    stops_when_full: bool,
    /// The state folder has a copy of what puts things back.
    keeps_copy: bool,
    /// A command is ended before what it does is put back.
    ends_command: bool,
    /// A claim is given up when everything has been put back, not when its run dies.
    claims_until_back: bool,
    /// `chaos revert` and the guardian exclude each other by the journal's lock.
    locks_journal: bool,
}

const ALL: Rules = Rules {
    syncs_first: true,
    stops_when_full: true,
    keeps_copy: true,
    ends_command: true,
    claims_until_back: true,
    locks_journal: true,
};

/// How far whoever puts things back has come: the run itself, its guardian, `chaos revert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Undo {
    Begun,
    CommandEnded,
    PutBack,
    Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Run {
    Started,
    Claimed,
    Guarded,
    /// The undo's line is written.
    Prepared,
    /// ... and the one that says that the injection begins.
    Injecting,
    /// The command is at work, or has been.
    Injected,
    Reverting(Undo),
    Ended,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Guardian {
    None,
    Watching,
    Reverting(Undo),
    Done,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Hand {
    None,
    Reverting(Undo),
    /// It has said that nothing is left, or that all was put back.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Second {
    None,
    Refused,
    Working,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Command {
    None,
    Running,
    Over,
}

/// The lines that tell of the undo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Lines {
    prepared: bool,
    injecting: bool,
    reverted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    run: Run,
    guardian: Guardian,
    hand: Hand,
    second: Second,
    command: Command,
    broken: bool,
    /// As the next reader sees them.
    written: Lines,
    /// As they are after a loss of power.
    synced: Lines,
    /// The run's folder is there.
    has_folder: bool,
    has_copy: bool,
    claimed: bool,
    is_full: bool,
    had_power_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Run,
    Interrupt,
    CommandActs,
    Guardian,
    Hand,
    Second,
    KillRun,
    KillGuardian,
    CutPower,
    FillDisk,
    DeleteFolder,
}

impl State {
    /// Something may be broken, and what puts it back can be read.
    fn is_open(&self) -> bool {
        (self.has_folder || self.has_copy) && self.written.prepared && self.written.injecting && !self.written.reverted
    }

    fn is_breaking(&self) -> bool {
        self.broken || self.command == Command::Running
    }

    fn is_guarded(&self) -> bool {
        matches!(self.guardian, Guardian::Watching | Guardian::Reverting(_))
    }

    fn run_lives(&self) -> bool {
        !matches!(self.run, Run::Ended | Run::Dead)
    }

    /// Somebody holds the journal's lock.
    fn is_locked(&self) -> bool {
        self.run_lives() || matches!(self.guardian, Guardian::Reverting(_)) || matches!(self.hand, Hand::Reverting(_))
    }

    fn write(&mut self, line: fn(&mut Lines) -> &mut bool, sync: bool) -> bool {
        if !self.is_full {
            *line(&mut self.written) = true;
            if sync {
                self.synced = self.written;
            }
        }
        !self.is_full
    }

    /// One step of putting things back, whoever does it. `None` when it is over.
    fn undo(&mut self, at: Undo, rules: Rules) -> Option<Undo> {
        match at {
            Undo::Begun => {
                if rules.ends_command && self.command == Command::Running {
                    self.command = Command::Over;
                }
                Some(Undo::CommandEnded)
            }
            Undo::CommandEnded => {
                self.broken = false;
                Some(Undo::PutBack)
            }
            Undo::PutBack => {
                self.write(|lines| &mut lines.reverted, false);
                Some(Undo::Written)
            }
            Undo::Written => {
                // A line that could not be written leaves it open for the next.
                if self.written.reverted {
                    self.claimed = false;
                    self.has_copy = false;
                }
                None
            }
        }
    }

    fn run_step(&mut self, rules: Rules) {
        self.run = match self.run {
            // The other one has it.
            Run::Started if self.second == Second::Working => Run::Ended,
            Run::Started => {
                self.claimed = true;
                self.has_copy = rules.keeps_copy;
                Run::Claimed
            }
            Run::Claimed => {
                self.guardian = Guardian::Watching;
                Run::Guarded
            }
            Run::Guarded => match self.write(|lines| &mut lines.prepared, rules.syncs_first) || !rules.stops_when_full {
                true => Run::Prepared,
                false => Run::Reverting(Undo::Written),
            },
            Run::Prepared => match self.write(|lines| &mut lines.injecting, rules.syncs_first) || !rules.stops_when_full {
                true => Run::Injecting,
                false => Run::Reverting(Undo::Begun),
            },
            Run::Injecting => {
                self.command = Command::Running;
                Run::Injected
            }
            // It is held, and then put back; an interrupted one does not wait for the command.
            Run::Injected if self.command == Command::Running => Run::Injected,
            Run::Injected => Run::Reverting(Undo::Begun),
            Run::Reverting(at) => match self.undo(at, rules) {
                Some(next) => Run::Reverting(next),
                None => {
                    if !self.is_open() {
                        self.claimed = false;
                        self.has_copy = false;
                    }
                    self.guardian = if self.guardian == Guardian::Watching { Guardian::Done } else { self.guardian };
                    Run::Ended
                }
            },
            over @ (Run::Ended | Run::Dead) => over,
        };
    }

    fn kill_run(&mut self, rules: Rules) {
        if self.run_lives() {
            self.run = Run::Dead;
            self.claimed &= rules.claims_until_back;
        }
    }
}

struct Safety(Rules);

impl Model for Safety {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            run: Run::Started,
            guardian: Guardian::None,
            hand: Hand::None,
            second: Second::None,
            command: Command::None,
            broken: false,
            written: Lines::default(),
            synced: Lines::default(),
            has_folder: true,
            has_copy: false,
            claimed: false,
            is_full: false,
            had_power_cut: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.run_lives() {
            actions.extend([Action::Run, Action::KillRun]);
        }
        if state.run == Run::Injected {
            actions.push(Action::Interrupt);
        }
        if state.command == Command::Running {
            actions.push(Action::CommandActs);
        }
        let free = !state.is_locked() || !self.0.locks_journal;
        match state.guardian {
            Guardian::Watching if state.run == Run::Dead && free => actions.extend([Action::Guardian, Action::KillGuardian]),
            Guardian::Watching => actions.push(Action::KillGuardian),
            Guardian::Reverting(_) => actions.extend([Action::Guardian, Action::KillGuardian]),
            Guardian::None | Guardian::Done | Guardian::Dead => {}
        }
        let by_hand = matches!(state.hand, Hand::None) && free;
        if by_hand || matches!(state.hand, Hand::Reverting(_)) {
            actions.push(Action::Hand);
        }
        if state.second == Second::None {
            actions.push(Action::Second);
        }
        if !state.had_power_cut {
            actions.push(Action::CutPower);
        }
        if !state.is_full {
            actions.push(Action::FillDisk);
        }
        if state.has_folder {
            actions.push(Action::DeleteFolder);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Run => state.run_step(self.0),
            Action::Interrupt => state.run = Run::Reverting(Undo::Begun),
            Action::CommandActs => (state.broken, state.command) = (true, Command::Over),
            Action::Guardian => {
                state.guardian = match state.guardian {
                    // It has held what it needs open since before anything was broken.
                    Guardian::Watching if state.written.injecting && !state.written.reverted => Guardian::Reverting(Undo::Begun),
                    Guardian::Reverting(at) => state.undo(at, self.0).map_or(Guardian::Done, Guardian::Reverting),
                    _ => Guardian::Done,
                };
            }
            Action::Hand => {
                state.hand = match state.hand {
                    Hand::None if state.is_open() => Hand::Reverting(Undo::Begun),
                    Hand::Reverting(at) => state.undo(at, self.0).map_or(Hand::Done, Hand::Reverting),
                    _ => Hand::Done,
                };
            }
            Action::Second => {
                let is_refused = state.claimed && (state.is_locked() || state.is_open());
                state.second = if is_refused { Second::Refused } else { Second::Working };
            }
            Action::KillRun => state.kill_run(self.0),
            Action::KillGuardian => state.guardian = Guardian::Dead,
            Action::CutPower => {
                state.kill_run(self.0);
                state.guardian = if state.guardian == Guardian::None { Guardian::None } else { Guardian::Dead };
                state.hand = if state.hand == Hand::Done { Hand::Done } else { Hand::None };
                state.second = if state.second == Second::Working { Second::Refused } else { state.second };
                state.command = if state.command == Command::Running { Command::Over } else { state.command };
                state.written = state.synced;
                state.had_power_cut = true;
            }
            Action::FillDisk => state.is_full = true,
            Action::DeleteFolder => state.has_folder = false,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(CAN_BE_PUT_BACK, |_, state: &State| {
                !state.is_breaking() || state.is_open() || state.run_lives() || state.is_guarded()
            }),
            Property::always(ONE_AT_WORK, |_, state: &State| state.second != Second::Working || !state.is_breaking()),
            Property::always(SAID_IS_TRUE, |_, state: &State| {
                let said = state.hand == Hand::Done
                    || state.guardian == Guardian::Done
                    || state.run == Run::Ended
                    || state.written.reverted;
                !said || !state.is_breaking()
            }),
            Property::sometimes("a slow command outlives its run", |_, state: &State| {
                state.run == Run::Dead && state.command == Command::Running
            }),
            Property::sometimes("chaos revert puts back what a power cut left", |_, state: &State| {
                state.had_power_cut && state.hand == Hand::Reverting(Undo::PutBack)
            }),
            Property::sometimes("a second run works after all", |_, state: &State| {
                state.second == Second::Working && state.run == Run::Ended
            }),
        ]
    }
}

const CAN_BE_PUT_BACK: &str = "what is broken can be put back by somebody";
const ONE_AT_WORK: &str = "two runs never break the same thing";
const SAID_IS_TRUE: &str = "what is said to be put back is";

/// Which promises fall under these rules.
fn fallen(rules: Rules) -> BTreeSet<&'static str> {
    let checker = Safety(rules).checker().spawn_bfs().join();
    [CAN_BE_PUT_BACK, ONE_AT_WORK, SAID_IS_TRUE].into_iter().filter(|name| checker.discovery(name).is_some()).collect()
}

#[test]
fn every_order_of_steps_keeps_the_promises() {
    crate::common::gives_way();
    let checker = Safety(ALL).checker().spawn_bfs().join();
    for name in [CAN_BE_PUT_BACK, ONE_AT_WORK, SAID_IS_TRUE] {
        if let Some(path) = checker.discovery(name) {
            panic!("{name}: {:#?}", path.into_actions());
        }
    }
    checker.assert_properties();
    let states = checker.unique_state_count();
    println!("{states} states");
    assert!(states > 1_000, "{states} states are not all");
}

#[test]
fn each_rule_is_needed() {
    crate::common::gives_way();
    let without: [(&str, Rules, &str); 6] = [
        ("syncs_first", Rules { syncs_first: false, ..ALL }, CAN_BE_PUT_BACK),
        ("stops_when_full", Rules { stops_when_full: false, ..ALL }, CAN_BE_PUT_BACK),
        ("keeps_copy", Rules { keeps_copy: false, ..ALL }, CAN_BE_PUT_BACK),
        ("ends_command", Rules { ends_command: false, ..ALL }, SAID_IS_TRUE),
        ("claims_until_back", Rules { claims_until_back: false, ..ALL }, ONE_AT_WORK),
        ("locks_journal", Rules { locks_journal: false, ..ALL }, SAID_IS_TRUE),
    ];
    for (rule, rules, promise) in without {
        assert!(fallen(rules).contains(promise), "without `{rule}`: {:?}", fallen(rules));
    }
}
