//! What each function's role allows, read from infra/template.yaml, compared with what its calls need.
//!
//! Must not: forgive a permission that nobody uses, unless infra/iam-implied.toml says why it is there.

use super::root;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What is allowed or needed, by function: actions, each with what it is done to, such as `sqs:SendMessage EventsQueue`.
pub type Needs = BTreeMap<String, BTreeSet<String>>;

/// A permission that no call of the function needs and that is there all the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Implied {
    /// Whose it is; `every` for all functions.
    pub function: String,
    /// Such as `logs:PutLogEvents`.
    pub action: String,
    /// Only on this thing of the template; None: wherever the action is allowed.
    #[serde(default)]
    pub on: Option<String>,
    /// Why it is there.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    implied: Vec<Implied>,
}

/// infra/iam-implied.toml.
#[must_use]
pub fn implied() -> Vec<Implied> {
    let text = std::fs::read_to_string(root().join("infra/iam-implied.toml")).unwrap();
    toml::from_str::<File>(&text).unwrap().implied
}

/// infra/template.yaml, with what CloudFormation computes as it is written (`{"Ref": "Table"}`).
#[must_use]
pub fn template() -> Value {
    let python = super::tool("sam", "python");
    let out = Command::new(python).arg(root().join("scripts/check_stack.py")).arg("--json").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn listed(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

/// What a permission is about, by its name in the template: `Table/index/due`, `parameter/vesper/${Practice}/*`.
fn thing(value: &Value) -> String {
    if let Some([name, _]) = value["Fn::GetAtt"].as_array().map(Vec::as_slice) {
        return name.as_str().unwrap().to_owned();
    }
    let text = value["Fn::Sub"].as_str().unwrap_or_else(|| panic!("a resource of a policy that this test cannot read: {value}"));
    if let Some((name, rest)) = text.strip_prefix("${").and_then(|t| t.split_once(".Arn}")) {
        return format!("{name}{rest}");
    }
    text.rsplit(':').next().unwrap().to_owned()
}

/// The statements of a policy; one under a condition counts as if the condition held.
fn statements(policy: &Value) -> Vec<Value> {
    let all = listed(&policy["PolicyDocument"]["Statement"]);
    all.into_iter().map(|s| if s["Fn::If"].is_array() { s["Fn::If"][1].clone() } else { s }).collect()
}

/// What each function's role allows.
#[must_use]
pub fn allowed(template: &Value) -> Needs {
    let resources = template["Resources"].as_object().unwrap();
    let functions = resources.values().filter(|r| r["Type"] == "AWS::Serverless::Function");
    functions
        .map(|f| {
            let name = f["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap();
            let role = &resources[f["Properties"]["Role"]["Fn::GetAtt"][0].as_str().unwrap()];
            let mut all = BTreeSet::new();
            for statement in listed(&role["Properties"]["Policies"]).iter().flat_map(statements) {
                assert_eq!(statement["Effect"], "Allow", "{name}: {statement}");
                for action in listed(&statement["Action"]) {
                    let action = action.as_str().unwrap();
                    all.extend(listed(&statement["Resource"]).iter().map(|r| format!("{action} {}", thing(r))));
                }
            }
            (name.to_owned(), all)
        })
        .collect()
}

impl Implied {
    fn is_about(&self, function: &str, permission: &str) -> bool {
        let (action, on) = permission.split_once(' ').unwrap_or((permission, ""));
        (self.function == function || self.function == "every")
            && self.action == action
            && self.on.as_ref().is_none_or(|wanted| wanted == on)
    }

    /// Why the entry is wrong, where it is: each function it names must have such a permission that it does not use.
    fn fault(&self, allowed: &Needs, used: &Needs) -> Option<String> {
        let what = format!(
            "infra/iam-implied.toml: {} {}{}",
            self.function,
            self.action,
            self.on.as_ref().map_or(String::new(), |on| format!(" {on}"))
        );
        let named: Vec<&String> = allowed.keys().filter(|f| self.function == "every" || **f == self.function).collect();
        if named.is_empty() {
            return Some(format!("{what}: there is no such function"));
        }
        if self.reason.trim().len() < 20 {
            return Some(format!("{what}: no reason"));
        }
        let none = BTreeSet::new();
        let idle = |function: &String| {
            let used = used.get(function).unwrap_or(&none);
            allowed[function].iter().any(|p| self.is_about(function, p) && !used.contains(p))
        };
        let needless: Vec<&str> = named.into_iter().filter(|f| !idle(f)).map(String::as_str).collect();
        (!needless.is_empty()).then(|| format!("{what}: not needed any more for {}", needless.join(", ")))
    }
}

/// Each need that a role does not allow.
#[must_use]
pub fn missing(allowed: &Needs, used: &Needs) -> Vec<String> {
    let none = BTreeSet::new();
    let of = |(function, needs): (&String, &BTreeSet<String>)| -> Vec<String> {
        let lacks = needs.difference(allowed.get(function).unwrap_or(&none));
        lacks.map(|need| format!("{function} needs {need}, and its role does not allow it")).collect()
    };
    used.iter().flat_map(of).collect()
}

/// What is wrong: a need that a role does not allow, a permission that is neither used nor implied, an entry without purpose.
#[must_use]
pub fn problems(allowed: &Needs, used: &Needs, implied: &[Implied]) -> Vec<String> {
    let none = BTreeSet::new();
    let mut wrong = missing(allowed, used);
    for (function, has) in allowed {
        let idle = has.difference(used.get(function).unwrap_or(&none));
        let unexplained = idle.filter(|p| !implied.iter().any(|i| i.is_about(function, p)));
        wrong.extend(
            unexplained.map(|p| format!("{function} may {p}, which it never does, and infra/iam-implied.toml does not say why")),
        );
    }
    wrong.extend(implied.iter().filter_map(|i| i.fault(allowed, used)));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn needs(pairs: &[(&str, &[&str])]) -> Needs {
        pairs.iter().map(|(f, all)| ((*f).to_owned(), all.iter().map(|a| (*a).to_owned()).collect())).collect()
    }

    fn entry(function: &str, action: &str, on: Option<&str>, reason: &str) -> Implied {
        Implied { function: function.to_owned(), action: action.to_owned(), on: on.map(str::to_owned), reason: reason.to_owned() }
    }

    const WHY: &str = "Lambda itself does it for the function";

    #[test]
    fn a_role_that_allows_exactly_what_is_used_or_implied_has_no_problem() {
        let allowed = needs(&[("a", &["s:Get T", "s:Put T", "l:Log A"]), ("b", &["s:Get T", "l:Log B"])]);
        let used = needs(&[("a", &["s:Get T", "s:Put T"]), ("b", &["s:Get T"])]);
        assert_eq!(problems(&allowed, &used, &[entry("every", "l:Log", None, WHY)]), Vec::<String>::new());
    }

    #[test]
    fn each_fault_of_a_role_is_named() {
        let used = needs(&[("a", &["s:Get T", "s:Get T/index/due"])]);
        let cases: [(&[&str], Vec<Implied>, &str); 7] = [
            (&["s:Get T"], vec![], "a needs s:Get T/index/due, and its role"),
            (&["s:Get T", "s:Get T/index/due", "s:Del T"], vec![], "a may s:Del T, which it never does"),
            (&["s:Get T", "s:Get T/index/due", "s:Get U"], vec![], "a may s:Get U"),
            (&["s:Get T", "s:Get T/index/due", "s:Del T"], vec![entry("a", "s:Del", Some("U"), WHY)], "a may s:Del T"),
            (&["s:Get T", "s:Get T/index/due"], vec![entry("a", "s:Get", None, WHY)], "not needed any more for a"),
            (&["s:Get T", "s:Get T/index/due", "s:Del T"], vec![entry("a", "s:Del", None, " ")], "no reason"),
            (&["s:Get T", "s:Get T/index/due"], vec![entry("b", "s:Get", None, WHY)], "there is no such function"),
        ];
        for (has, implied, said) in cases {
            let found = problems(&needs(&[("a", has)]), &used, &implied);
            assert!(found.iter().any(|p| p.contains(said)), "{said}: {found:?}");
        }
        assert_eq!(problems(&needs(&[]), &used, &[]).len(), 2, "a function without a role");
    }

    #[test]
    fn an_entry_for_every_function_must_be_needed_by_each() {
        let allowed = needs(&[("a", &["l:Log A"]), ("b", &["s:Get T"])]);
        let found = problems(&allowed, &needs(&[("b", &["s:Get T"])]), &[entry("every", "l:Log", None, WHY)]);
        assert_eq!(found, ["infra/iam-implied.toml: every l:Log: not needed any more for b"]);
    }

    #[test]
    fn the_policies_of_a_template_are_read_with_lists_conditions_and_computed_names() {
        let statement = |action: Value, resource: Value| json!({"Effect": "Allow", "Action": action, "Resource": resource});
        let policy = json!({"PolicyDocument": {"Statement": [
            statement(json!(["s:Get", "s:Put"]), json!({"Fn::GetAtt": ["Table", "Arn"]})),
            statement(json!("s:Get"), json!([{"Fn::Sub": "${Table.Arn}/index/due"}, {"Fn::Sub": "arn:${AWS::Partition}:ssm:x:parameter/p/*"}])),
            {"Fn::If": ["OwnKey", statement(json!("k:Use"), json!({"Fn::GetAtt": ["Key", "Arn"]})), {"Ref": "AWS::NoValue"}]},
        ]}});
        let function = json!({"Type": "AWS::Serverless::Function", "Properties": {"Role": {"Fn::GetAtt": ["ARole", "Arn"]}},
            "Metadata": {"BuildProperties": {"Binary": "a"}}});
        let template =
            json!({"Resources": {"A": function, "ARole": {"Type": "AWS::IAM::Role", "Properties": {"Policies": [policy]}}}});
        let all = ["k:Use Key", "s:Get Table", "s:Get Table/index/due", "s:Get parameter/p/*", "s:Put Table"];
        assert_eq!(allowed(&template), needs(&[("a", &all)]));
    }
}
