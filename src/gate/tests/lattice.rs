//! Every cell: who asks, for what class, how the SLO stands, on which data, what the service goes through, and whether a
//! person said yes. `lattice.txt` holds the answer and the reasons of each; `UPDATE_EXPECT=1` writes it anew, to be read
//! before it is committed. What must hold in all cells stands here as code, and does not look at that file.

use std::fmt::Write as _;

use super::stage::*;
use crate::engine::SloState;
use crate::gate::check::Effect;
use crate::gate::signals::signal;
use crate::gate::{ActionClass, ActorClass, Answer, Decision, GateState, Policy, ReasonCode, Request, View, decide};

/// Whether people are asked, and what they said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Yes {
    /// The policy asks for none.
    NotAsked,
    /// It does, and nobody has said anything.
    Missing,
    /// Those who can said yes to what was asked, before the change, the freeze or the halt came.
    Given,
}

impl Yes {
    const ALL: [Yes; 3] = [Yes::NotAsked, Yes::Missing, Yes::Given];

    fn as_str(self) -> &'static str {
        match self {
            Yes::NotAsked => "no yes is asked for by the policy",
            Yes::Missing => "the policy asks for a yes, and there is none",
            Yes::Given => "the policy asks for a yes, and those who can said yes two minutes ago",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    actor: ActorClass,
    class: ActionClass,
    state: SloState,
    data: Data,
    changing: Changing,
    yes: Yes,
}

/// A cell with all it rests on.
struct Played {
    cell: Cell,
    request: Request,
    policy: Policy,
    view: View,
    gate: GateState,
    decision: Decision,
}

fn cells() -> impl Iterator<Item = Cell> {
    let all = ActorClass::ALL.into_iter().flat_map(|actor| ActionClass::ALL.map(|class| (actor, class)));
    let all = all.flat_map(|(actor, class)| Yes::ALL.map(|yes| (actor, class, yes)));
    let all = all.flat_map(|one| Data::ALL.map(|data| (one, data)));
    let all = all.flat_map(|one| SLO_STATES.map(|state| (one, state)));
    all.flat_map(|(((actor, class, yes), data), state)| {
        Changing::ALL.map(|changing| Cell { actor, class, state, data, changing, yes })
    })
}

fn play(cell: Cell) -> Played {
    let mut policy = if cell.yes == Yes::NotAsked { policy() } else { asking_policy() };
    let mut gate = gate();
    cell.changing.ruled(&mut policy);
    let (request, who, view) = (of_action_class(cell.class), of_class(cell.actor), view(cell.state, cell.data));
    if cell.yes == Yes::Given {
        ask_at(&mut gate, 1, &request, &who, &policy, &view, NOW - 120);
        approve_all(&mut gate, &[ada(), bob()], NOW - 110);
    }
    cell.changing.happen(&mut gate);
    let decision = decide(&request, &who, Some(&policy), Some(&view), &gate, NOW);
    Played { cell, request, policy, view, gate, decision }
}

fn state(state: SloState) -> &'static str {
    match state {
        SloState::Ok => "ok",
        SloState::SlowBurn => "slow_burn",
        SloState::FastBurn => "fast_burn",
        SloState::Exhausted => "exhausted",
        SloState::Unknown => "unknown",
    }
}

/// Every reason with a mark: what only warns in brackets, what a yes covers with a plus.
pub(super) fn marks(decision: &Decision) -> Vec<String> {
    let mut marks: Vec<String> = Vec::new();
    for check in decision.reasons() {
        let mark = match (check.effect, &check.covered_by) {
            (Effect::Warn, _) => format!("({})", check.code),
            (_, Some(_)) => format!("+{}", check.code),
            (Effect::NeedsApproval, _) => format!("?{}", check.code),
            _ => check.code.to_string(),
        };
        if !marks.contains(&mark) {
            marks.push(mark);
        }
    }
    marks
}

/// One row: the six states of change, each as what it adds to the first.
fn row(cells: &[Played]) -> String {
    let mut text = String::new();
    let first = marks(&cells[0].decision);
    for played in cells {
        let (answer, marks) = (played.decision.answer, marks(&played.decision));
        let name = played.cell.changing.as_str();
        if played.cell.changing == Changing::Idle {
            write!(text, "{name} {} [{}]", answer.as_str(), marks.join(" ")).expect("a text");
            continue;
        }
        let gone: Vec<String> = first.iter().filter(|mark| !marks.contains(mark)).map(|m| format!("-{m}")).collect();
        let new: Vec<String> = marks.iter().filter(|mark| !first.contains(mark)).cloned().collect();
        let same = gone.is_empty() && new.is_empty() && answer == cells[0].decision.answer;
        match same {
            true => write!(text, "; {name} the same"),
            false => write!(text, "; {name} {} [{}]", answer.as_str(), [new, gone].concat().join(" ")),
        }
        .expect("a text");
    }
    text
}

const LEGEND: &str = "\
# What the gate answers in every state: who asks, for which class of action, how the SLO stands, on which data, what the
# service goes through, and whether a person has said yes. Made by src/gate/tests/lattice.rs (UPDATE_EXPECT=1); read it.
#
# A reason alone denies; ?reason asks a person; +reason is covered by a yes; (reason) only warns. After `idle` each state
# of change has only what it adds, and -reason what it takes away. Freezes and halts are such as stop machines, not people.
# No policy that is read from a file makes a change an `observe`: those blocks show what the class alone would do.
";

#[test]
fn every_cell_is_as_it_was_read() {
    let mut blocks: Vec<(String, Vec<ActorClass>, ActionClass, Yes)> = Vec::new();
    for class in ActionClass::ALL {
        for yes in Yes::ALL {
            for actor in ActorClass::ALL {
                let text = block(actor, class, yes);
                match blocks.iter_mut().find(|(same, _, c, y)| *same == text && (*c, *y) == (class, yes)) {
                    Some((_, actors, ..)) => actors.push(actor),
                    None => blocks.push((text, vec![actor], class, yes)),
                }
            }
        }
    }
    let mut text = LEGEND.to_string();
    for (block, actors, class, yes) in blocks {
        let actors: Vec<&str> = actors.into_iter().map(ActorClass::as_str).collect();
        write!(text, "\n== {}, {}: {}\n{block}", actors.join(" and "), class.as_str(), yes.as_str()).expect("a text");
    }
    text += &super::acts::blocks();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gate/tests/lattice.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &text).expect("writable");
    }
    let expected = std::fs::read_to_string(path).expect("lattice.txt is there");
    let differs = text.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(differs.is_none() && text.len() == expected.len(), "{differs:#?}");
}

/// The rows of one block; states of the SLO that answer alike share one.
fn block(actor: ActorClass, class: ActionClass, yes: Yes) -> String {
    let mut text = String::new();
    for data in Data::ALL {
        let mut rows: Vec<(String, Vec<&str>)> = Vec::new();
        for slo in SLO_STATES {
            let cells: Vec<Played> = Changing::ALL
                .into_iter()
                .map(|changing| play(Cell { actor, class, state: slo, data, changing, yes }))
                .collect();
            let row = row(&cells);
            match rows.iter_mut().find(|(same, _)| *same == row) {
                Some((_, states)) => states.push(state(slo)),
                None => rows.push((row, vec![state(slo)])),
            }
        }
        for (row, states) in rows {
            writeln!(text, "{} | {} | {row}", data.as_str(), states.join(" ")).expect("a text");
        }
    }
    text
}

// === What holds in all of them

#[test]
fn no_machine_changes_anything_on_stale_or_absent_data_by_itself() {
    let mut blind = 0;
    for cell in cells().filter(|cell| !cell.actor.is_human() && cell.class != ActionClass::Observe) {
        let unknown = cell.data.is_blind() || cell.state == SloState::Unknown;
        if !unknown {
            continue;
        }
        blind += 1;
        let played = play(cell);
        let answer = played.decision.answer;
        // A yes can only be had for a cure on old data, never where there is none.
        let person = cell.yes == Yes::Given && cell.class == ActionClass::Mitigate;
        let old = matches!(cell.data, Data::Stale | Data::OldView);
        assert!(answer != Answer::Allow || person && old, "{cell:?}: {:?}", played.decision.codes());
        if cell.class == ActionClass::Risk {
            assert_eq!(answer, Answer::Deny, "{cell:?}");
        }
    }
    assert!(blind > 1000, "only {blind} cells");
}

#[test]
fn a_risk_needs_headroom_and_a_cure_needs_a_burn() {
    for cell in cells().filter(|cell| !cell.actor.is_human() && cell.yes == Yes::NotAsked) {
        let allowed = play(cell).decision.answer == Answer::Allow;
        match cell.class {
            ActionClass::Risk if allowed => {
                assert!(matches!(cell.state, SloState::Ok | SloState::SlowBurn), "{cell:?}");
            }
            ActionClass::Mitigate if allowed => {
                assert!(matches!(cell.state, SloState::FastBurn | SloState::SlowBurn), "{cell:?}");
            }
            // The cure is not held up by what it cures.
            ActionClass::Mitigate if cell.data == Data::Fresh && cell.changing == Changing::Idle => {
                assert!(!matches!(cell.state, SloState::FastBurn | SloState::SlowBurn), "{cell:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn a_halt_and_a_freeze_stop_every_machine_whatever_was_approved() {
    for cell in cells().filter(|cell| !cell.actor.is_human()) {
        let decision = match cell.changing {
            Changing::Halted => play(cell).decision,
            Changing::Frozen if cell.class != ActionClass::Observe => play(cell).decision,
            _ => continue,
        };
        assert_eq!(decision.answer, Answer::Deny, "{cell:?}");
    }
}

/// In every state some person can act: at once, with the yes of another one, or by breaking the glass; and what they are
/// given can be redeemed.
#[test]
fn some_person_can_always_act() {
    for cell in cells().filter(|cell| cell.actor.is_human() && cell.yes != Yes::Given) {
        let Played { request, policy, view, mut gate, decision, .. } = play(cell);
        let who = of_class(cell.actor);
        let mut asked = ask(&mut gate, 1, &request, &who, &policy, &view);
        if decision.answer == Answer::NeedsApproval {
            approve_all(&mut gate, &[ada(), bob()], NOW);
            asked = ask(&mut gate, 2, &request, &who, &policy, &view);
            assert_eq!(asked.answer, Answer::Allow, "{cell:?}: a yes that leads nowhere: {:?}", asked.codes());
        }
        let mut request = request;
        if asked.answer == Answer::Deny {
            request.break_glass = true;
            asked = ask(&mut gate, 3, &request, &who, &policy, &view);
            assert!(asked.break_glass, "{cell:?}");
        }
        assert_eq!(asked.answer, Answer::Allow, "{cell:?}: {:?}", asked.codes());
        let permit = gate.open_permits().find(|permit| permit.sub == who.sub).expect("an allow is a permit");
        let redeemed = gate.redeem(&permit.id, &who, &request, Some(&policy), Some(&policy), Some(&view), NOW + 1);
        assert_eq!(redeemed.answer, Answer::Allow, "{cell:?}: {:?}", redeemed.refusal);
    }
}

/// The gate that is out of order does not shut people out.
#[test]
fn a_person_breaks_the_glass_of_a_gate_that_is_out_of_order() {
    for spoil in [
        |view: &mut View| view.health.policy_current = false,
        |view: &mut View| view.health.warm = false,
        |view: &mut View| view.health.audit_writable = false,
        |view: &mut View| view.health.clock_skew_s = Some(600.0),
        |view: &mut View| view.health.can_ask = false,
    ] {
        let mut view = view(SloState::Unknown, Data::Absent);
        spoil(&mut view);
        let request = Request { break_glass: true, ..of_action_class(ActionClass::Mitigate) };
        let decision = decide(&request, &dan(), Some(&asking_policy()), Some(&view), &gate(), NOW);
        assert_eq!(decision.answer, Answer::Allow, "{:?}", decision.codes());
        let robot = decide(&request, &orca(), Some(&asking_policy()), Some(&view), &gate(), NOW);
        assert_eq!(robot.answer, Answer::Deny);
    }
}

#[test]
fn no_machine_goes_below_the_least_replicas_or_above_the_most() {
    let now_and_then = |cell: &Cell| matches!(cell.changing, Changing::Idle | Changing::InFlight);
    for cell in cells().filter(|cell| cell.class == ActionClass::Risk && cell.yes != Yes::Missing) {
        if !now_and_then(&cell) {
            continue;
        }
        let played = play(cell);
        let who = of_class(cell.actor);
        for replicas in [0, 2, 51] {
            let mut gate = played.gate.clone();
            let request = scale(replicas);
            ask(&mut gate, 7, &request, &who, &played.policy, &played.view);
            approve_all(&mut gate, &[ada(), bob()], NOW);
            let decision = decide(&request, &who, Some(&played.policy), Some(&played.view), &gate, NOW);
            assert_eq!(decision.answer, Answer::Deny, "{replicas}: {cell:?}");
        }
    }
}

/// What a signal promises holds for whoever asks: nothing that does not depend on the act stands in the way then.
#[test]
fn a_signal_of_one_is_kept() {
    use ReasonCode::{
        ApprovalRequired, BudgetExhausted, ChangeInFlight, CoolingDown, DataAbsent, DataPartial, DataStale, FastBurn,
        Frozen, Halted, LowTraffic, NotNecessary, NotWarm,
    };
    let general = [
        BudgetExhausted,
        ChangeInFlight,
        CoolingDown,
        DataAbsent,
        DataPartial,
        DataStale,
        FastBurn,
        Frozen,
        Halted,
        LowTraffic,
        NotNecessary,
        NotWarm,
    ];
    let mut ones = 0;
    for cell in cells().filter(|cell| cell.actor == ActorClass::Robot && cell.yes == Yes::NotAsked) {
        let Played { policy, view, gate, decision, .. } = play(cell);
        let signal = signal(cell.class, Some(&policy), &view, &gate, NOW);
        let stops = decision.checks.iter().filter(|check| check.stops());
        let stopped = stops.clone().any(|check| general.contains(&check.code));
        assert_eq!(signal.value == 1, !stopped, "{cell:?}: {signal:?} {:?}", decision.codes());
        assert!(stops.into_iter().all(|check| check.code != ApprovalRequired));
        ones += usize::from(signal.value == 1);
        if cell.data.is_blind() && cell.class != ActionClass::Observe {
            assert_ne!(signal.value, 1, "{cell:?}");
        }
    }
    assert!(ones > 10, "only {ones} signals of 1");
}
