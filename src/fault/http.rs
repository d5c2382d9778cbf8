//! A request of the user's to the target, with one that puts things back and one that proves it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{CauseEnds, Fault, FaultError, Lasts, Observation, Reverted};
use crate::driver::Method;
use crate::driver::request::SMALL_TIMEOUT;
use crate::driver::template::as_text;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::Time;
use crate::journal::event::When;
use crate::plan::Plan;
use crate::record;
use crate::run::world::World;

record! {
    /// Sends a request of yours to the target.
    pub struct Http {
        /// What breaks it.
        send: Call,
        /// What puts it back. It must do no harm when there is nothing to put back.
        revert: Option<Call> = None,
        /// What shows that it is broken: the proof. Without it the run cannot pass.
        proof: Option<Proof> = None,
        /// How long it stays broken.
        r#for: Time = Time::secs(0),
    }

    /// One request below the target's URL; any status from 200 to 299 is success.
    pub struct Call {
        /// The HTTP method.
        method: Method = Method::Post,
        /// The path.
        path: String,
        /// The JSON body.
        json: Option<Json> = None,
    }

    /// A GET whose answer shows whether things are broken.
    pub struct Proof {
        /// The path.
        path: String,
        /// Broken while the answer has this status.
        status: Option<u16> = None,
        /// Where in the answer to look (JSON pointer).
        pointer: Option<String> = None,
        /// Broken while the value there, as text, is this.
        is: Option<String> = None,
    }
}

#[derive(Serialize, Deserialize)]
pub struct Undo {
    revert: Option<Call>,
    /// A request that was cut off may still be acted upon for so long.
    #[serde(default)]
    late_s: f64,
}

impl Fault for Http {
    type Undo = Undo;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        let paths = [Some(&self.send.path), self.revert.as_ref().map(|c| &c.path), self.proof.as_ref().map(|p| &p.path)];
        if paths.into_iter().flatten().any(|path| !path.starts_with('/')) {
            diags.error(place, "a path does not begin with `/`", "requests go below the target's URL and nowhere else");
        }
        if self.proof.as_ref().is_some_and(|p| p.status.is_none() && (p.pointer.is_none() || p.is.is_none())) {
            diags.error(place, "the proof looks at nothing", "expected `status`, or `pointer` and `is`");
        }
    }

    fn needs_process(&self) -> bool {
        false
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        vec![format!("sends {} {} to {}", self.send.method, self.send.path, plan.url)]
    }

    fn lasts(&self) -> Lasts {
        Lasts::Held(self.r#for.0)
    }

    fn cause_ends(&self) -> CauseEnds {
        // Without a length the outage is what the target makes of it.
        if self.r#for.0.is_zero() { CauseEnds::ProcessEnd { down: Duration::ZERO } } else { CauseEnds::LetGo }
    }

    async fn prepare(&self, _world: &World, _name: &str) -> Result<Undo, FaultError> {
        let late_s = if self.revert.is_some() { SMALL_TIMEOUT.as_secs_f64() } else { 0.0 };
        Ok(Undo { revert: self.revert.clone(), late_s })
    }

    async fn inject(&self, world: &World, _name: &str) -> Result<(), FaultError> {
        self.send.send(world).await.map(drop)
    }

    async fn observe(&self, world: &World, _name: &str, _when: When) -> Observation {
        let Some(proof) = &self.proof else { return Observation::unknown("no `proof` says whether things are broken") };
        let (status, body) = match world.port.call(Method::Get, &proof.path, None).await {
            Ok(answer) => answer,
            Err(error) => return Observation::unknown(format!("{}: {error}", proof.path)),
        };
        let json: Json = serde_json::from_str(&body).unwrap_or(Json::Null);
        let value = proof.pointer.as_ref().and_then(|pointer| json.pointer(pointer)).map(as_text);
        let detail = format!("{} answers {status}{}", proof.path, value.as_ref().map_or_else(String::new, |v| format!(", `{v}`")));
        let broken = proof.status.is_none_or(|wanted| wanted == status) && (proof.is.is_none() || proof.is == value);
        if broken { Observation::broken(1.0, detail) } else { Observation::intact(detail) }
    }

    async fn revert(undo: &Undo, world: &World, _name: &str) -> Result<Reverted, FaultError> {
        match &undo.revert {
            Some(call) => call.send(world).await.map(Reverted),
            None => Ok(Reverted("there is nothing to put back".into())),
        }
    }
}

impl Call {
    async fn send(&self, world: &World) -> Result<String, FaultError> {
        let (status, _) = world.port.call(self.method, &self.path, self.json.as_ref()).await.map_err(FaultError::Failed)?;
        let told = format!("{} {} answered {status}", self.method, self.path);
        if (200..300).contains(&status) { Ok(told) } else { Err(FaultError::Failed(told)) }
    }
}
