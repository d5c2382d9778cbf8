//! Fetches results, and looks at what they are.

use std::time::Duration;

use serde_json::Value as Json;

use super::format::{Method, ResultRoute};
use super::http::HttpPort;
use super::inputs::Vars;
use super::request::Failure;
use super::template::{self, bounded};
use super::{Seen, gateway, inputs};
use crate::journal::event::ResultLook;
use crate::seed::fnv;

const RESULT_TIMEOUT: Duration = Duration::from_secs(30);
/// The job is called completed, and the place of its result is not told: HTTP's "processing".
pub const NOT_TOLD: u16 = 102;
/// So many times a result may be somewhere else, at the same target.
const REDIRECTS: u32 = 5;
/// What every mark of ours begins with; 16 hexadecimal digits follow.
pub const MARK_PREFIX: &str = "chaos-";

impl HttpPort {
    /// What is at the place where the result of a completed job is.
    ///
    /// # Errors
    /// Nobody answered who knows.
    pub(super) async fn fetch(&self, route: &ResultRoute, id: &str) -> Result<ResultLook, String> {
        let Some(path) = &route.path else { return Err("it came with a message that was missed".to_owned()) };
        let mut vars = self.live.vars(id);
        // What tells of the end may not tell where the result is: the status does.
        let open = |vars: &Vars| template::unfilled(path, &|name| vars.get(name).cloned());
        // Whoever has been asked has told something of it, where it tells anything.
        let captured: Vec<String> =
            template::names(path).into_iter().filter(|name| self.driver.status.capture.contains_key(name)).collect();
        let is_unasked = !captured.is_empty() && !captured.iter().any(|name| vars.contains_key(name));
        if let Some(status) = self.driver.status.path.as_ref().filter(|_| is_unasked || open(&vars).is_some()) {
            if let Err(Seen::Unclear(reason)) = self.ask_status(status, id).await {
                return Err(reason);
            }
            vars = self.live.vars(id);
        }
        if let Some(name) = open(&vars) {
            return Ok(lookless(NOT_TOLD, format!("where it is is not told yet (`{name}`)")));
        }
        let mut path = match template::target_path(path, self.requester.base(), &|name| vars.get(name).cloned()) {
            Ok(path) => path,
            // The target has answered, and names no place of its own.
            Err(why) => return Ok(lookless(200, why)),
        };
        let most = route.at_most.0 as usize;
        let mut follows = REDIRECTS;
        let reply = loop {
            let reply =
                self.requester.read((Method::Get, &path), None, &vars, RESULT_TIMEOUT, most).await.map_err(Failure::reason)?;
            let Some(to) = reply.header("location").filter(|_| matches!(reply.status, 301 | 302 | 303 | 307 | 308)) else {
                break reply;
            };
            if follows == 0 {
                return Ok(lookless(reply.status, format!("more than {REDIRECTS} redirects, the last to {}", bounded(&to))));
            }
            follows -= 1;
            path = match template::redirected(&path, &to, self.requester.base()) {
                Ok(path) => path,
                Err(why) => return Ok(lookless(reply.status, why)),
            };
        };
        // Not the backend's word: it is asked again.
        if gateway::answered(&reply) {
            return Err(format!("a gateway answered {}", reply.status));
        }
        // To a login, for one: every job would have the same result, and a plausible one.
        let is_page = reply.header("content-type").is_some_and(|kind| kind.to_lowercase().starts_with("text/html"));
        if is_page && follows < REDIRECTS && reply.status == 200 && !route.free_form {
            return Ok(lookless(reply.status, format!("the target redirects to a page of HTML ({})", bounded(&path))));
        }
        if let Some(encoding) = reply.encoding().filter(|_| reply.whole) {
            return Ok(lookless(reply.status, encoding));
        }
        let look = look(&reply.body, reply.status);
        Ok(match (reply.whole, reply.status) {
            (false, _) => ResultLook { error: Some(format!("larger than {}", route.at_most)), ..look },
            (_, 200) => look,
            (_, status) => ResultLook { error: Some(format!("status {status}")), ..look },
        })
    }
}

/// What is seen of a result.
pub fn look(body: &[u8], status: u16) -> ResultLook {
    let mut marks = marks(body);
    let mark = marks.next();
    ResultLook {
        status,
        bytes: body.len() as u64,
        digest: fnv(body),
        kind: magic(body).to_owned(),
        other_mark: marks.find(|other| Some(*other) != mark).map(str::to_owned),
        mark: mark.map(str::to_owned),
        size: imagesize::blob_size(body).ok().and_then(|size| Some([size.width.try_into().ok()?, size.height.try_into().ok()?])),
        error: None,
    }
}

pub fn lookless(status: u16, error: String) -> ResultLook {
    ResultLook { status, bytes: 0, digest: 0, kind: "none".into(), mark: None, other_mark: None, size: None, error: Some(error) }
}

/// A result that came with an answer or a message.
pub fn inline(route: &ResultRoute, message: &Json, whole: &[u8], status: u16) -> ResultLook {
    let pointer = route.inline.as_deref().unwrap_or_default();
    if pointer.is_empty() && !route.base64 {
        return look(whole, status);
    }
    let Some(found) = message.pointer(pointer).filter(|v| !v.is_null()) else {
        return lookless(status, format!("nothing at {pointer}"));
    };
    let text = template::as_text(found);
    if !route.base64 {
        return look(text.as_bytes(), status);
    }
    inputs::from_base64(&text).map_or_else(|| lookless(status, format!("no base64 at {pointer}")), |bytes| look(&bytes, status))
}

fn magic(body: &[u8]) -> &'static str {
    let known: &[(&[u8], &str)] = &[
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"glTF", "glb"),
        (b"solid", "stl"),
        (b"RIFF", "riff"),
        (b"{", "json"),
        (b"[", "json"),
        (b"<", "markup"),
    ];
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    known.iter().find(|(start, _)| body.starts_with(start)).map_or("other", |(_, name)| name)
}

/// The marks of ours in a result.
fn marks(body: &[u8]) -> impl Iterator<Item = &str> {
    let begins = memchr::memmem::find_iter(body, MARK_PREFIX);
    let marks = begins.filter_map(|at| body.get(at..at + MARK_PREFIX.len() + 16));
    marks
        .filter(|mark| mark[MARK_PREFIX.len()..].iter().all(u8::is_ascii_hexdigit))
        .filter_map(|mark| std::str::from_utf8(mark).ok())
}
