//! A Gradio app tells its functions and their inputs.

use serde_json::{Value as Json, json};

use super::{Choice, Found, Proposal};

pub fn recognise(found: &Found) -> Option<Proposal> {
    let config = found.json("/config")?;
    let functions = config.get("dependencies")?.as_array()?;
    let prefix = config.get("api_prefix").and_then(Json::as_str).unwrap_or("");
    let info = found.json("/gradio_api/info").or_else(|| found.json("/info"));
    let endpoints = info.and_then(|info| info.get("named_endpoints")).and_then(Json::as_object);
    let (name, endpoint) = endpoints.and_then(|all| all.iter().next())?;
    let is_it = |function: &&Json| function.get("api_name").and_then(Json::as_str) == Some(name.trim_start_matches('/'));
    let index = functions.iter().position(|function| is_it(&function))?;
    let number = functions[index].get("id").and_then(Json::as_u64).unwrap_or(index as u64);
    let empty = Vec::new();
    let parameters = endpoint.get("parameters").and_then(Json::as_array).unwrap_or(&empty);
    let with = json!({ "fn_index": number, "data": inputs(parameters), "prefix": prefix });
    Some(Proposal {
        kind: "Gradio app",
        because: format!("/config lists {} functions; `{name}` is the first that has a name", functions.len()),
        choice: Choice::BuiltIn { name: "gradio", with },
    })
}

/// The first text is the prompt; everything else as the app itself would have it.
fn inputs(parameters: &[Json]) -> Vec<Json> {
    let mut prompted = false;
    let one = |parameter: &Json| {
        let is_text = parameter.pointer("/type/type").and_then(Json::as_str) == Some("string");
        let default = parameter.get("parameter_default").filter(|v| !v.is_null());
        match default.or_else(|| parameter.get("example_input")) {
            _ if is_text && !prompted => {
                prompted = true;
                json!("{{prompt}}")
            }
            Some(value) => value.clone(),
            None => Json::Null,
        }
    };
    parameters.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_named_function_is_driven_with_its_inputs() {
        let config = json!({ "api_prefix": "/gradio_api", "dependencies": [{ "id": 4, "api_name": false }, { "id": 7, "api_name": "paint" }] });
        let info = json!({ "named_endpoints": { "/paint": { "parameters": [
            { "type": { "type": "string" } },
            { "type": { "type": "number" }, "parameter_default": 30 },
            { "type": { "type": "string" }, "example_input": "Hello" } ] } } });
        let found = Found::of(
            "http://x",
            [("/config".to_owned(), config.to_string()), ("/gradio_api/info".to_owned(), info.to_string())],
        );
        let Choice::BuiltIn { name, with } = recognise(&found).unwrap().choice else { panic!() };
        assert_eq!(
            (name, with),
            ("gradio", json!({ "fn_index": 7, "data": ["{{prompt}}", 30, "Hello"], "prefix": "/gradio_api" }))
        );
    }
}
