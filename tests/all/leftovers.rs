//! Everything unfinished is found by its undo, wherever the run's folder is, and nothing is begun beside it.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::machine::{Machine, cut_power, end, journal, said};
use crate::common::{process_exists, wait_for};

#[test]
fn a_fault_beside_a_target_that_chaos_started_is_found_and_the_next_run_refused() {
    let machine = Machine::new();
    let folder = machine.left();
    let refused = machine.run_again();
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(said(&refused).contains("chaos revert") && said(&refused).contains("left something broken"), "{}", said(&refused));
    let reverted = machine.revert(None);
    assert!(reverted.status.success() && said(&reverted).contains("put back: exec"), "{}", said(&reverted));
    assert!(!machine.marker().exists());
    assert!(said(&machine.revert(None)).contains("nothing is left to put back"));
    assert!(said(&machine.revert(Some(&folder))).contains("nothing is left to put back"));
}

#[test]
fn a_run_whose_folder_is_gone_or_damaged_is_put_back_by_hand() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("deleted", |folder| std::fs::remove_dir_all(folder).unwrap()),
        ("its journal deleted", |folder| std::fs::remove_file(folder.join("events.jsonl")).unwrap()),
        ("overwritten", |folder| std::fs::write(folder.join("events.jsonl"), "garbage\n").unwrap()),
        ("moved", |folder| std::fs::rename(folder, folder.with_file_name("moved")).unwrap()),
    ];
    for (what, damage) in damages {
        for by_name in [false, true] {
            let machine = Machine::new();
            let folder = machine.left();
            damage(&folder);
            let reverted = machine.revert(by_name.then_some(folder.as_path()));
            assert!(reverted.status.success() && said(&reverted).contains("put back: exec"), "{what}: {}", said(&reverted));
            assert!(!machine.marker().exists(), "{what}");
            assert!(said(&machine.revert(None)).contains("nothing is left to put back"), "{what}");
        }
    }
}

/// The journal and its copy end in the middle, as after a loss of power: what was prepared is put back all the same.
#[test]
fn a_journal_that_ends_in_the_middle_hides_nothing() {
    type Damage = fn(&str) -> String;
    let damages: [(&str, Damage); 4] = [
        ("after what was prepared", |text| text[..=line_of(text, "fault_prepared").1].to_owned()),
        ("with NUL bytes behind it", |text| text[..=line_of(text, "fault_prepared").1].to_owned() + &"\0".repeat(512)),
        ("without the end of a line", |text| text[..line_of(text, "fault_injecting").1].to_owned()),
        ("in half a line", |text| {
            let (from, to) = line_of(text, "fault_injecting");
            text[..(from + to) / 2].to_owned()
        }),
    ];
    for (what, damage) in damages {
        let machine = Machine::new();
        let folder = machine.left();
        let copy = machine.folder.path().join("state/undo").join(folder.file_name().unwrap());
        for place in [folder.as_path(), copy.as_path()] {
            std::fs::write(place.join("events.jsonl"), damage(&journal(place))).unwrap();
        }
        let refused = machine.run_again();
        assert_eq!(refused.status.code(), Some(4), "{what}: {}", said(&refused));
        let reverted = machine.revert(None);
        assert!(reverted.status.success() && said(&reverted).contains("put back: exec"), "{what}: {}", said(&reverted));
        assert!(!machine.marker().exists(), "{what}");
        assert!(said(&machine.revert(None)).contains("nothing is left to put back"), "{what}");
    }
}

/// Where the line with that word begins and ends.
fn line_of(text: &str, word: &str) -> (usize, usize) {
    let at = text.find(word).unwrap();
    (text[..at].rfind('\n').unwrap() + 1, at + text[at..].find('\n').unwrap())
}

/// A claim that cannot be read blocks, and is named, until somebody has looked.
#[test]
fn a_damaged_claim_blocks_and_is_named() {
    for damage in [|text: &[u8]| text[..text.len().min(60)].to_vec(), |_: &[u8]| b"\0\0garbage".to_vec()] {
        let machine = Machine::on_a_port("60s");
        machine.left();
        machine.wait_for_the_end();
        let claims = std::fs::read_dir(machine.folder.path().join("state/claims")).unwrap();
        let claims: Vec<_> =
            claims.map(|entry| entry.unwrap().path()).filter(|path| path.metadata().unwrap().len() > 0).collect();
        assert!(!claims.is_empty());
        for path in &claims {
            let text = std::fs::read(path).unwrap();
            std::fs::write(path, damage(&text)).unwrap();
        }
        assert_eq!(machine.run_afresh().status.code(), Some(4));
        let reverted = machine.revert(None);
        // What is known is put back; of the claim nobody can tell.
        assert_eq!(reverted.status.code(), Some(5), "{}", said(&reverted));
        assert!(said(&reverted).contains("is damaged") && said(&reverted).contains("put back: exec"), "{}", said(&reverted));
        assert!(!machine.marker().exists());
        let refused = machine.run_afresh();
        assert!(refused.status.code() == Some(4) && said(&refused).contains("is damaged"), "{}", said(&refused));
        claims.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        assert!(said(&machine.revert(None)).contains("nothing is left to put back"));
    }
}

#[test]
fn the_guardian_puts_back_whatever_became_of_the_folder() {
    type Damage = fn(&Path, &Path);
    let damages: [(&str, Damage); 6] = [
        ("deleted", |folder, _| std::fs::remove_dir_all(folder).unwrap()),
        ("moved", |folder, _| std::fs::rename(folder, folder.with_file_name("moved")).unwrap()),
        ("overwritten", |folder, _| std::fs::write(folder.join("events.jsonl"), "garbage\n").unwrap()),
        ("its journal replaced", |folder, _| {
            std::fs::write(folder.join("other"), "").unwrap();
            std::fs::rename(folder.join("other"), folder.join("events.jsonl")).unwrap();
        }),
        ("its copy deleted", |_, state| std::fs::remove_dir_all(state.join("undo")).unwrap()),
        ("both deleted", |folder, state| {
            std::fs::remove_dir_all(folder).unwrap();
            std::fs::remove_dir_all(state.join("undo")).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let machine = Machine::new();
        let (mut child, folder, guardian) = machine.broken();
        damage(&folder, &machine.folder.path().join("state"));
        end(&mut child);
        wait_for(&format!("the revert ({what})"), Duration::from_secs(60), || !machine.marker().exists());
        wait_for("the guardian's end", Duration::from_secs(60), || !process_exists(guardian.cast_unsigned().into()));
        let after = machine.revert(None);
        assert!(said(&after).contains("nothing is left to put back"), "{what}: {}", said(&after));
    }
}

#[test]
fn a_run_that_ends_well_leaves_no_trace_in_the_state_folder() {
    let machine = Machine::new();
    let (mut child, ..) = machine.broken();
    let undo = machine.folder.path().join("state/undo");
    assert_eq!(std::fs::read_dir(&undo).unwrap().count(), 1, "while it is at work");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!machine.marker().exists());
    assert_eq!(std::fs::read_dir(&undo).unwrap().count(), 0);
}

/// It dies with nothing broken, and another run that begins meanwhile tidies its copy away: whenever that is, the guardian tells
/// what became of the run.
#[test]
fn a_copy_that_another_run_tidied_away_does_not_silence_the_guardian() {
    for before_it_opens in [false, true] {
        let machine = Machine::new();
        let text = std::fs::read_to_string(machine.file()).unwrap().replace("at: 100ms", "at: 10m");
        std::fs::write(machine.file(), text).unwrap();
        let (child, folder, guardian) = machine.at_work("\"guardian\",\"level\"");
        if before_it_opens {
            cut_power(child, guardian);
        } else {
            let (mut child, guardian) = (child, Pid::from_raw(guardian));
            kill(guardian, Signal::SIGSTOP).unwrap();
            end(&mut child);
        }
        let copy = machine.folder.path().join("state/undo").join(folder.file_name().unwrap());
        assert!(copy.exists());
        let other = machine.run_again();
        assert!(matches!(other.status.code(), Some(0 | 1 | 6)), "{}", said(&other));
        assert!(!copy.exists(), "nothing is left, so the next run tidies it away");
        match before_it_opens {
            true => {
                let told = machine.chaos().arg("guardian").arg(&folder).arg(&copy).output().unwrap();
                assert!(told.status.success(), "{}", said(&told));
            }
            false => kill(Pid::from_raw(guardian), Signal::SIGCONT).unwrap(),
        }
        let result = || std::fs::read(folder.join("result.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        wait_for("what became of the run", Duration::from_secs(60), || result().is_some());
        let result: serde_json::Value = result().unwrap();
        assert_eq!(result["exit_code"], 4, "{result}");
    }
}

#[test]
fn an_interrupted_run_puts_back_before_it_waits_for_its_clients() {
    let machine = Machine::new();
    // In real time a job takes longer than this test.
    let text = std::fs::read_to_string(machine.file()).unwrap().replace("speed: 400", "speed: 1").replace("users: 1", "users: 8");
    std::fs::write(machine.file(), text).unwrap();
    let (mut child, folder, _) = machine.broken();
    wait_for("a job", Duration::from_secs(60), || journal(&folder).contains("\"answer\":{\"accepted\""));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let told = journal(&folder);
    // By their order, which is the same on a slow machine.
    let line = |event: &str| told.lines().position(|line| line.contains(event)).unwrap_or_else(|| panic!("no {event}: {told}"));
    assert!(line("\"interrupted\"") < line("\"fault_reverted\""), "{told}");
    assert!(line("\"fault_reverted\"") < line("\"gave_up\""), "the clients were waited for first: {told}");
}

/// `/tmp/chaos-state` as an attack: a link with a foreseeable name, and no home folder.
#[test]
fn without_a_home_nothing_is_kept_in_a_folder_that_all_share() {
    let shared = std::env::temp_dir().join("chaos-state");
    let was_there = shared.exists();
    let victim = tempfile::tempdir().unwrap();
    let precious = victim.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    let machine = Machine::new();
    let mut command = machine.chaos();
    let reports = machine.reports();
    command.env_remove("CHAOS_STATE_DIR").env_remove("HOME").env_remove("XDG_STATE_HOME").env("TMPDIR", victim.path());
    command.args(["run", "experiments/gpu-oom.yaml", "--quiet", "--set", "load.0.users=1", "--reports"]).arg(&reports);
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1 | 6)), "{}", said(&output));
    assert!(was_there || !shared.exists(), "it is not made");
    assert_eq!(std::fs::read_dir(victim.path()).unwrap().count(), 1, "nor in a folder for temporary files");
    // A link in the place of the state folder is refused by name.
    std::os::unix::fs::symlink(victim.path(), machine.folder.path().join("link")).unwrap();
    let mut command = machine.chaos();
    command.env("CHAOS_STATE_DIR", machine.folder.path().join("link"));
    let refused = command.args(["run", "--quiet", "--reports"]).arg(&reports).arg(machine.file()).output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(said(&refused).contains("symbolic link"), "{}", said(&refused));
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
}
