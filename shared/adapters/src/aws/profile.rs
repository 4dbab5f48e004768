//! Credentials and region of a person at a command line: the environment, else a profile with keys of its own in the files of the
//! `aws` command (<https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>).
//!
//! Single sign-on, assumed roles and other programs are left to that command, which gives what it gets for the environment.
//! Must not: call anybody, or show a key.

use super::{Aws, AwsError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ATTEMPTED: &str = "find credentials for AWS";
/// What says that a profile gets its credentials elsewhere.
const ELSEWHERE: [&str; 6] =
    ["sso_session", "sso_start_url", "credential_process", "role_arn", "web_identity_token_file", "login_session"];

type Keys = BTreeMap<String, String>;

/// The keys of one section of a file. What is indented belongs to a nested setting.
fn section(text: &str, names: &[String]) -> Option<Keys> {
    let mut found: Option<Keys> = None;
    let mut is_ours = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            is_ours = names.contains(&name);
            if is_ours {
                found.get_or_insert_default();
            }
        } else if let (true, false, Some((key, value)), Some(keys)) =
            (is_ours, line.starts_with([' ', '\t']), trimmed.split_once('='), found.as_mut())
        {
            let value = value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default().trim();
            keys.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    found
}

/// What a profile says, in the file of settings and in that of credentials, which comes first; None when there is no such profile.
fn profile(name: &str, config: &str, credentials: &str) -> Option<Keys> {
    let plain = [name.to_owned()];
    let of_config =
        if name == "default" { vec![name.to_owned(), "profile default".to_owned()] } else { vec![format!("profile {name}")] };
    let (config, credentials) = (section(config, &of_config), section(credentials, &plain));
    if config.is_none() && credentials.is_none() {
        return None;
    }
    let mut keys = config.unwrap_or_default();
    keys.extend(credentials.unwrap_or_default());
    Some(keys)
}

fn missing(name: &str, keys: Option<&Keys>) -> AwsError {
    let with = if name == "default" { String::new() } else { format!(" --profile {name}") };
    let export = format!("eval \"$(aws configure export-credentials{with} --format env)\"");
    AwsError::new(
        ATTEMPTED,
        match keys {
            None if name == "default" => format!(
                "neither AWS_ACCESS_KEY_ID nor a profile is there: sign in with the aws command and run {export}, or name a profile \
                 in AWS_PROFILE"
            ),
            None => format!("there is no profile {name} (AWS_PROFILE) in the files of the aws command"),
            Some(keys) => match ELSEWHERE.iter().find(|key| keys.contains_key(**key)) {
                Some(key) => format!("the profile {name} has no keys of its own but {key}: run {export} and this command again"),
                None => format!("the profile {name} has no aws_access_key_id and aws_secret_access_key: run aws configure{with}"),
            },
        },
    )
}

impl Aws {
    /// The account of a person at a command line. `lookup` is the environment, `read` reads a file that may not be there.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub fn of_person(lookup: impl Fn(&str) -> Option<String>, read: impl Fn(&Path) -> Option<String>) -> Result<Aws, AwsError> {
        let filled = |name: &str| lookup(name).filter(|v| !v.trim().is_empty());
        let file = |variable: &str, name: &str| {
            let at_home = || Some(PathBuf::from(filled("HOME")?).join(".aws").join(name));
            filled(variable).map(PathBuf::from).or_else(at_home).and_then(|path| read(&path)).unwrap_or_default()
        };
        let name = filled("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let (config, credentials) = (file("AWS_CONFIG_FILE", "config"), file("AWS_SHARED_CREDENTIALS_FILE", "credentials"));
        let keys = profile(&name, &config, &credentials);
        let is_given = filled("AWS_ACCESS_KEY_ID").is_some() && filled("AWS_SECRET_ACCESS_KEY").is_some();
        let of_profile = |key: &str| keys.as_ref().and_then(|k| k.get(key)).filter(|v| !v.is_empty()).cloned();
        let has_keys = of_profile("aws_access_key_id").is_some() && of_profile("aws_secret_access_key").is_some();
        if !is_given && !has_keys {
            return Err(missing(&name, keys.as_ref()));
        }
        let all = |variable: &str| match variable {
            // One source for all three: a token belongs to its key.
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" if is_given => filled(variable),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" => of_profile(&variable.to_ascii_lowercase()),
            "AWS_REGION" => filled(variable).or_else(|| filled("AWS_DEFAULT_REGION")).or_else(|| of_profile("region")),
            "AWS_ENDPOINT_URL" => filled(variable).or_else(|| of_profile("endpoint_url")),
            other => filled(other),
        };
        if all("AWS_REGION").is_none() {
            let text = "no region is set: set AWS_REGION to the one of the stack, such as us-east-1";
            return Err(AwsError::new(ATTEMPTED, text));
        }
        Aws::from_lookup(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = us-east-1\n\n[profile sso]\nsso_session = x\nregion=us-west-2\n\
                          [profile own]\nregion = eu-west-1 # far\ns3 =\n  region = nested\n; a comment\n[sso-session x]\nregion = y\n";
    const CREDENTIALS: &str = "[own]\naws_access_key_id = AKOWN\naws_secret_access_key=s/+=\naws_session_token = t\n";

    fn of(env: &[(&str, &str)]) -> Result<Aws, AwsError> {
        let env: BTreeMap<&str, &str> = env.iter().copied().collect();
        let read = |path: &Path| match path.to_str()? {
            "/home/ada/.aws/config" => Some(CONFIG.to_owned()),
            "/home/ada/.aws/credentials" => Some(CREDENTIALS.to_owned()),
            _ => None,
        };
        Aws::of_person(|name| env.get(name).map(|v| (*v).to_owned()), read)
    }

    fn told(env: &[(&str, &str)]) -> String {
        match of(env) {
            Ok(aws) => {
                let keys = &aws.credentials;
                format!(
                    "{} {} {:?} {}",
                    keys.access_key_id(),
                    keys.secret_access_key(),
                    keys.session_token(),
                    aws.region.as_ref()
                )
            }
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn the_environment_comes_before_a_profile_and_a_token_stays_with_its_key() {
        let home = ("HOME", "/home/ada");
        let own = ("AWS_PROFILE", "own");
        assert_eq!(told(&[home, own]), "AKOWN s/+= Some(\"t\") eu-west-1");
        let (id, secret) = (("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "s"));
        assert_eq!(told(&[home, own, id, secret]), "AK s None eu-west-1");
        assert_eq!(told(&[id, secret, ("AWS_DEFAULT_REGION", "r")]), "AK s None r");
        assert_eq!(told(&[home, own, id]), "AKOWN s/+= Some(\"t\") eu-west-1", "half a key is none");
        assert_eq!(told(&[home, own, ("AWS_REGION", "z")]), "AKOWN s/+= Some(\"t\") z");
    }

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let home = ("HOME", "/home/ada");
        let nothing: &[(&str, &str)] = &[];
        for (env, want) in [
            (&[home, ("AWS_PROFILE", "sso")][..], "aws configure export-credentials --profile sso --format env"),
            (&[home, ("AWS_PROFILE", "none")][..], "there is no profile none"),
            (&[home][..], "run aws configure"),
            (nothing, "neither AWS_ACCESS_KEY_ID nor a profile"),
            (&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")][..], "set AWS_REGION"),
        ] {
            assert!(told(env).contains(want), "{}", told(env));
        }
    }
}
