//! Every error of a wrong file or secret, and every default of contracts/settings.md.

use super::*;
use std::collections::HashMap;

const FILE: &str = "practice.toml";

/// The least that `vesper serve` starts with.
const LEAST: &str = r#"[practice]
id = "e2e"
time_zone = "America/Phoenix"

[stripe]
livemode = false

[ehr]
base_url = "https://ehr.example"

[books]
realm_id = "1234567890"
[books.accounts]
stripe_clearing = "91"
checking = "35"
stripe_fees = "66"
refunds = "67"
disputes = "68"
unidentified = "92"
client_credits = "93"
[books.accounts.income]
default = "79"
"#;

/// The example of the contract, as it stands there.
const FULL: &str = r#"[practice]
id = "northbridge"                 # (required) [a-z0-9-]{1,32}
time_zone = "America/Chicago"      # (required) IANA
currency = "usd"
mode = "live"
go_live = "2026-12-01T00:00:00Z"

[stripe]
api_base = "https://api.stripe.com"
api_version = "2026-10-28.endive"
livemode = true
[stripe.metadata]
invoice = ["vesper_invoice", "ehr_invoice_id", "invoice_id"]
session = ["vesper_session", "ehr_session_id", "session_id"]
client  = ["vesper_client", "ehr_client_id", "client_id"]
kind    = ["kind"]

[ehr]
kind = "bridge"
base_url = "https://ehr.example"
poll_s = 300

[books]
kind = "quickbooks"
api_base = "https://quickbooks.api.intuit.com"
token_url = "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer"
realm_id = "1234567890"
max_per_minute = 400
[books.accounts]
stripe_clearing = "91"
checking = "35"
stripe_fees = "66"
refunds = "67"
disputes = "68"
unidentified = "92"
client_credits = "93"
[books.accounts.income]
default = "79"
copay = "80"

[matching]
link_by_email = "unique"
same_amount = "oldest_first"
apply_credit = "by_hand"
wait_for_invoice_h = 48

[retry]
days = [1, 3, 7]
at = "10:00"
payday_shift_days = 3
when_autopay_unknown = "ask"
when_consent_unknown = "ask"
"#;

fn parse(text: &str) -> Settings {
    Settings::parse(text, FILE, Need::Serve).unwrap()
}

fn refused(text: &str, need: Need) -> String {
    match Settings::parse(text, FILE, need) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(e) => e.to_string(),
    }
}

/// `LEAST` with one piece replaced; it must be there.
fn least_with(old: &str, new: &str) -> String {
    assert!(LEAST.contains(old), "{old}");
    LEAST.replacen(old, new, 1)
}

fn quickbooks(settings: &Settings) -> &QuickBooksSettings {
    match &settings.books {
        Books::QuickBooks(q) => q,
        Books::None => panic!("no books"),
    }
}

#[test]
fn a_file_with_only_what_is_required_has_the_defaults_of_the_contract() {
    for text in [LEAST.to_owned(), FULL.replace("livemode = true", "livemode = false")] {
        let s = parse(&text);
        assert_eq!((s.practice.currency, s.practice.mode), (Currency::USD, Mode::Live));
        assert_eq!((s.stripe.api_base.as_str(), s.stripe.api_version.as_str()), ("https://api.stripe.com", "2026-10-28.endive"));
        assert_eq!(s.stripe.metadata, MetadataKeys::default());
        assert_eq!(s.ehr.kind, EhrKind::Bridge { base_url: "https://ehr.example".to_owned() });
        assert_eq!(s.ehr.poll_s, 300);
        let q = quickbooks(&s);
        assert_eq!((q.api_base.as_str(), q.max_per_minute), ("https://quickbooks.api.intuit.com", 400));
        assert_eq!(q.token_url, "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer");
        let a = &q.accounts;
        let ids = [&a.stripe_clearing, &a.checking, &a.stripe_fees, &a.refunds, &a.disputes, &a.unidentified, &a.client_credits];
        assert_eq!(ids, ["91", "35", "66", "67", "68", "92", "93"]);
        assert_eq!((q.realm_id.as_str(), a.income.of(Category::Product)), ("1234567890", "79"));
        let policy = s.policy();
        assert_eq!((policy.matching.link_by_email, policy.matching.same_amount), (LinkByEmail::Unique, SameAmount::OldestFirst));
        assert_eq!((policy.matching.wait_for_invoice_h, policy.retry.days), (48, vec![1, 3, 7]));
        assert_eq!((policy.retry.at, policy.retry.payday_shift_days), (Time::constant(10, 0, 0, 0), 3));
        assert_eq!((policy.retry.when_autopay_unknown, policy.retry.when_consent_unknown), (WhenUnknown::Ask, WhenUnknown::Ask));
        assert_eq!((policy.currency, policy.time_zone), (Currency::USD, s.practice.time_zone));
        assert_eq!(policy.apply_credit, ApplyCredit::ByHand);
    }
    let s = parse(&LEAST.replace("[stripe]\nlivemode = false\n", ""));
    assert!(s.stripe.livemode && s.practice.go_live.is_none());
}

#[test]
fn what_the_file_says_is_taken() {
    let s = parse(FULL);
    assert_eq!((s.practice.id.as_str(), s.practice.time_zone_name.as_str()), ("northbridge", "America/Chicago"));
    assert_eq!(s.practice.go_live, Some("2026-12-01T00:00:00Z".parse().unwrap()));
    assert!(s.stripe.livemode);
    assert_eq!(quickbooks(&s).accounts.income.of(Category::Copay), "80");
    let cases = [
        ("go_live = \"2026-12-01T00:00:00Z\"", "go_live = 2026-11-30T18:00:00-06:00"),
        ("mode = \"live\"", "mode = \"shadow\""),
        ("currency = \"usd\"", "currency = \"CAD\""),
        ("api_base = \"https://api.stripe.com\"", "api_base = \"http://127.0.0.1:4242/\""),
        ("base_url = \"https://ehr.example\"", "base_url = \"http://[::1]:9/shim/ehr/\""),
        ("invoice = [\"vesper_invoice\", \"ehr_invoice_id\", \"invoice_id\"]", "invoice = [ \" bill \" ]"),
        ("poll_s = 300", "poll_s = 60"),
        ("max_per_minute = 400", "max_per_minute = 10"),
        ("link_by_email = \"unique\"", "link_by_email = \"never\""),
        ("same_amount = \"oldest_first\"", "same_amount = \"review\""),
        ("apply_credit = \"by_hand\"", "apply_credit = \"oldest_first\""),
        ("wait_for_invoice_h = 48", "wait_for_invoice_h = 0"),
        ("days = [1, 3, 7]", "days = [2]"),
        ("at = \"10:00\"", "at = \"07:45\""),
        ("payday_shift_days = 3", "payday_shift_days = 0"),
        ("when_autopay_unknown = \"ask\"", "when_autopay_unknown = \"retry\""),
        ("when_consent_unknown = \"ask\"", "when_consent_unknown = \"retry\""),
    ];
    let text = cases.iter().fold(FULL.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replacen(old, new, 1)
    });
    let s = parse(&text);
    assert_eq!(s.practice.go_live, Some("2026-12-01T00:00:00Z".parse().unwrap()));
    assert_eq!((s.practice.mode, s.practice.currency.as_str()), (Mode::Shadow, "cad"));
    assert_eq!(s.stripe.api_base, "http://127.0.0.1:4242");
    assert_eq!(s.ehr.kind, EhrKind::Bridge { base_url: "http://[::1]:9/shim/ehr".to_owned() });
    assert_eq!((s.stripe.metadata.invoice, s.ehr.poll_s), (vec!["bill".to_owned()], 60));
    assert_eq!((s.matching.link_by_email, s.matching.same_amount), (LinkByEmail::Never, SameAmount::Review));
    assert_eq!((s.matching.wait_for_invoice_h, s.retry.days, s.retry.payday_shift_days), (0, vec![2], 0));
    assert_eq!((s.apply_credit, s.retry.at), (ApplyCredit::OldestFirst, Time::constant(7, 45, 0, 0)));
    assert_eq!((s.retry.when_autopay_unknown, s.retry.when_consent_unknown), (WhenUnknown::Retry, WhenUnknown::Retry));
}

#[test]
fn a_command_asks_only_for_what_it_uses() {
    let practice = "[practice]\nid = \"p\"\ntime_zone = \"UTC\"\n";
    let s = Settings::parse(practice, FILE, Need::Backtest).unwrap();
    assert_eq!(s.ehr.kind, EhrKind::Files);
    assert!(matches!(s.books, Books::None));
    assert!(Settings::parse(FULL, FILE, Need::Backtest).is_ok());
    let errors = refused(practice, Need::Serve);
    for key in ["ehr.base_url", "books.realm_id", "books.accounts.checking", "books.accounts.income.default"] {
        assert!(errors.contains(&format!("practice.toml: key `{key}` is missing")), "{errors}");
    }
    let s = parse(&format!("{practice}[ehr]\nkind = \"files\"\n[books]\nkind = \"none\"\n"));
    assert_eq!(s.ehr.kind, EhrKind::Files);
    assert!(matches!(s.books, Books::None));
    // What is there must be right all the same.
    let errors = refused(&format!("{practice}[ehr]\npoll_s = \"often\"\n"), Need::Backtest);
    assert_eq!(errors, "practice.toml:5: key `ehr.poll_s` is text, expected a whole number from 1 to 86400");
    assert!(refused("", Need::Backtest).contains("practice.time_zone"));
}

#[test]
fn each_error_names_file_line_key_and_remedy() {
    let cases = [
        (least_with("[ehr]", "[ehr]\npoll_sec = 5"), "practice.toml:9: key `ehr.poll_sec` is unknown, did you mean `poll_s`?"),
        (
            least_with("[ehr]", "[bookz]\nkind = \"none\"\n[ehr]"),
            "practice.toml:8: section `bookz` is unknown, did you mean `books`?",
        ),
        (
            least_with("[ehr]", "[ehr]\nrealm_id = \"1\""),
            "practice.toml:9: key `ehr.realm_id` is unknown, did you mean `books.realm_id`?",
        ),
        (
            least_with("[ehr]", "[ehr]\nwhatever = 1"),
            "practice.toml:9: key `ehr.whatever` is unknown, known here: base_url, kind, poll_s",
        ),
        (
            least_with("[ehr]", "[ehr]\nehr_bridge_secrets = \"s3cr3t\""),
            "practice.toml:9: key `ehr.ehr_bridge_secrets` is unknown, a secret never stands in this file: \
             remove it and set it in the environment",
        ),
        (
            least_with("time_zone = \"America/Phoenix\"", ""),
            "practice.toml:1: key `practice.time_zone` is missing, expected an IANA time zone: \
             add time_zone = \"America/Chicago\" under [practice]",
        ),
        (
            least_with("stripe_clearing = \"91\"", ""),
            "practice.toml:13: key `books.accounts.stripe_clearing` is missing, expected the Id of a QuickBooks account, in quotes: \
             add stripe_clearing = \"91\" under [books.accounts]",
        ),
        (
            least_with("America/Phoenix", "Mars/Olympus"),
            "practice.toml:3: key `practice.time_zone` is \"Mars/Olympus\", expected an IANA time zone: \
             write time_zone = \"America/Chicago\"",
        ),
        (
            least_with("\"e2e\"", "\"Bad Id\""),
            "practice.toml:2: key `practice.id` is \"Bad Id\", expected 1 to 32 of a-z, 0-9 and -: write id = \"northbridge\"",
        ),
        (
            least_with("id = \"e2e\"", "id = \"e2e\"\ngo_live = \"tomorrow\""),
            "practice.toml:3: key `practice.go_live` is \"tomorrow\", expected a UTC time: write go_live = \"2026-12-01T00:00:00Z\"",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(refused(&text, Need::Serve), want);
    }
}

#[test]
fn a_value_of_the_wrong_type_or_range_says_what_is_expected() {
    let cases = [
        (
            least_with("livemode = false", "livemode = \"no\""),
            "practice.toml:6: key `stripe.livemode` is text, expected true or false, without quotes",
        ),
        (
            least_with("https://ehr.example", "http://ehr.example"),
            "practice.toml:9: key `ehr.base_url` is not a URL with https (http only on loopback), without user, query or fragment: \
             write base_url = \"https://ehr.example\"",
        ),
        (
            least_with("checking = \"35\"", "checking = \"91\""),
            "practice.toml:15: key `books.accounts.checking` is the same account as `stripe_clearing`, expected another one: \
             give each its own account",
        ),
        (
            format!("{LEAST}[retry]\ndays = [1, 2, 3, 4]\n"),
            "practice.toml:24: key `retry.days` is not a list of 1 to 3 days, each later than the one before, from 1 to 255: \
             write days = [1, 3, 7]",
        ),
        (
            format!("{LEAST}[retry]\nwhen_consent_unknown = \"perhaps\"\n"),
            "practice.toml:24: key `retry.when_consent_unknown` is \"perhaps\", expected \"ask\" or \"retry\"",
        ),
        (
            format!("{LEAST}[matching]\nwait_for_invoice_h = 1.5\n"),
            "practice.toml:24: key `matching.wait_for_invoice_h` is a number with a fraction, expected a whole number from 0 to 8760",
        ),
        (
            LEAST.replace("[ehr]\nbase_url = \"https://ehr.example\"\n", "").replacen(
                "[practice]",
                "ehr = \"files\"\n[practice]",
                1,
            ),
            "practice.toml:1: key `ehr.base_url` is missing, expected a URL with https (http only on loopback), \
             without user, query or fragment: add base_url = \"https://ehr.example\" under [ehr]\n\
             practice.toml:1: key `ehr` is text, expected a section: write [ehr] on a line of its own",
        ),
        (
            LEAST.replace("[stripe]\nlivemode = false", "stripe = 1"),
            "practice.toml:5: key `practice.stripe` is unknown, did you mean `stripe`?",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(refused(&text, Need::Serve), want);
    }
}

#[test]
fn a_value_that_is_not_allowed_is_refused_under_its_key() {
    let cases = [
        ("practice.id", "id = \"e2e\"", vec!["id = \"\"", "id = 1", "id = \"é\"", "id = \"abcdefghijklmnopqrstuvwxyz-0123456\""]),
        ("practice.time_zone", "time_zone = \"America/Phoenix\"", vec!["time_zone = \"\"", "time_zone = \"Etc/Unknown\""]),
        (
            "practice.go_live",
            "id = \"e2e\"",
            vec![
                "id = \"e2e\"\ngo_live = 2026-12-01",
                "id = \"e2e\"\ngo_live = 2026-12-01T00:00:00",
                "id = \"e2e\"\ngo_live = 1",
            ],
        ),
        ("practice.mode", "id = \"e2e\"", vec!["id = \"e2e\"\nmode = \"Live\"", "id = \"e2e\"\nmode = true"]),
        ("practice.currency", "id = \"e2e\"", vec!["id = \"e2e\"\ncurrency = \"dollar\""]),
        (
            "stripe.metadata.invoice",
            "[ehr]",
            vec!["[stripe.metadata]\ninvoice = \"a\"\n[ehr]", "[stripe.metadata]\ninvoice = [\" \"]\n[ehr]"],
        ),
        ("ehr.poll_s", "[ehr]", vec!["[ehr]\npoll_s = 0", "[ehr]\npoll_s = -1", "[ehr]\npoll_s = 99999999999999999999"]),
        ("ehr.kind", "[ehr]", vec!["[ehr]\nkind = \"soap\""]),
        (
            "ehr.base_url",
            "https://ehr.example",
            vec![
                "ehr.example",
                "ftp://ehr.example",
                "http://127.0.0.1.example",
                "http://localhost.example",
                "https://user:s3cr3t@ehr.example",
                "https://ehr.example?x=s3cr3t",
                "https://ehr.example#x",
                "https://ehr.example/a b",
                "https://ehr.example/a/../b",
                "https://ehr.example//b",
                "https://",
                "",
            ],
        ),
        ("books.realm_id", "\"1234567890\"", vec!["1234567890", "\"\"", "\"12/34\""]),
        ("books.max_per_minute", "[books]", vec!["[books]\nmax_per_minute = 501"]),
        ("books.accounts.refunds", "\"67\"", vec!["67", "\"\"", "\"6' or '1\"", "\"35\""]),
        ("books.accounts.income.copay", "default = \"79\"", vec!["default = \"79\"\ncopay = \"91\""]),
        (
            "retry.days",
            "[ehr]",
            vec!["[retry]\ndays = []\n[ehr]", "[retry]\ndays = [3, 1]\n[ehr]", "[retry]\ndays = [1, 1]\n[ehr]"],
        ),
        (
            "retry.days",
            "[ehr]",
            vec!["[retry]\ndays = [0, 1]\n[ehr]", "[retry]\ndays = [1, 300]\n[ehr]", "[retry]\ndays = [\"1\"]\n[ehr]"],
        ),
        (
            "retry.at",
            "[ehr]",
            vec!["[retry]\nat = \"25:00\"\n[ehr]", "[retry]\nat = \"9:00\"\n[ehr]", "[retry]\nat = 10:00:00\n[ehr]"],
        ),
    ];
    for (key, old, news) in cases {
        for new in news {
            let errors = refused(&least_with(old, new), Need::Serve);
            assert!(errors.lines().any(|l| l.starts_with(FILE) && l.contains(&format!("key `{key}` is "))), "{new}: {errors}");
            assert!(!errors.contains("s3cr3t"), "{errors}");
        }
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text =
        least_with("\"e2e\"", "1").replace("disputes = \"68\"", "dispute = \"68\"").replace("livemode = false", "livemode = 0");
    let errors = refused(&text, Need::Serve);
    let lines: Vec<&str> = errors.lines().collect();
    let starts = [
        "practice.toml:2: key `practice.id` is a whole number",
        "practice.toml:6: key `stripe.livemode`",
        "practice.toml:13: key `books.accounts.disputes` is missing",
        "practice.toml:18: key `books.accounts.dispute` is unknown, did you mean `disputes`?",
    ];
    assert_eq!(lines.len(), starts.len(), "{errors}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    for (text, line) in [("[practice]\nid = \n", 2), ("[practice]\nid = \"a\"\nid = \"b\"\n", 3), ("[practice\n", 1)] {
        let errors = refused(text, Need::Serve);
        assert!(errors.starts_with(&format!("practice.toml:{line}: this is no TOML: ")), "{errors}");
    }
}

fn environment() -> HashMap<&'static str, String> {
    HashMap::from([
        ("STRIPE_API_KEY", "sk_test_e2e".to_owned()),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_new, whsec_old".to_owned()),
        ("EHR_BRIDGE_SECRETS", "ehr_secret_e2e".to_owned()),
        ("QUICKBOOKS_CLIENT_ID", "id".to_owned()),
        ("QUICKBOOKS_CLIENT_SECRET", " secret\n".to_owned()),
        ("QUICKBOOKS_REFRESH_TOKEN", "token".to_owned()),
    ])
}

#[test]
fn secrets_are_taken_trimmed_and_shown_by_nobody() {
    let all = environment();
    let secrets = Secrets::from_lookup(|name| all.get(name).cloned(), &parse(LEAST)).unwrap();
    let exposed: Vec<&str> = secrets.stripe_webhook_secrets.iter().map(crate::personal::Secret::expose).collect();
    assert_eq!((exposed, secrets.ehr_bridge_secrets.len()), (vec!["whsec_new", "whsec_old"], 1));
    assert_eq!(secrets.quickbooks.as_ref().unwrap().client_secret.expose(), "secret");
    let shown = format!("{secrets:?}");
    assert!(!shown.contains("whsec") && !shown.contains("sk_test") && !shown.contains("token\""), "{shown}");
}

#[test]
fn a_secret_that_is_used_is_neither_missing_nor_blank() {
    let settings = parse(LEAST);
    for name in reader::SECRET_NAMES {
        let mut cases = vec![
            (None, "is missing"),
            (Some(""), "is blank"),
            (Some("  "), "is blank"),
            (Some("sk_test_a\u{a0}b"), "has a space"),
        ];
        if name.ends_with("SECRETS") {
            cases.extend([
                (Some("a,,b"), "has a blank entry"),
                (Some("a, "), "has a blank entry"),
                (Some(","), "has a blank entry"),
            ]);
        }
        for (value, want) in cases {
            let mut all = environment();
            match value {
                Some(v) => all.insert(name, v.to_owned()),
                None => all.remove(name),
            };
            let errors = Secrets::from_lookup(|name| all.get(name).cloned(), &settings).unwrap_err().to_string();
            assert!(errors.starts_with(&format!("{name} {want}")) && errors.contains("in the environment"), "{errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
        }
    }
    let errors = Secrets::from_lookup(|_| None, &settings).unwrap_err();
    assert_eq!(errors.0.len(), reader::SECRET_NAMES.len());
}

#[test]
fn a_secret_that_is_not_used_is_not_asked_for() {
    let settings = parse(
        "[practice]\nid = \"p\"\ntime_zone = \"UTC\"\nmode = \"shadow\"\n[ehr]\nkind = \"files\"\n[books]\nkind = \"none\"\n",
    );
    let lookup = |name: &str| match name {
        "STRIPE_API_KEY" => Some("rk_live_x".to_owned()),
        "STRIPE_WEBHOOK_SECRETS" => Some("whsec_x".to_owned()),
        _ => panic!("{name} was asked for"),
    };
    let secrets = Secrets::from_lookup(lookup, &settings).unwrap();
    assert!(secrets.ehr_bridge_secrets.is_empty() && secrets.quickbooks.is_none());
    // In shadow mode everything is still read.
    let shadow = parse(&least_with("id = \"e2e\"", "id = \"e2e\"\nmode = \"shadow\""));
    assert_eq!(Secrets::from_lookup(|_| None, &shadow).unwrap_err().0.len(), reader::SECRET_NAMES.len());
}

#[test]
fn the_stripe_key_must_be_of_the_mode_of_the_settings() {
    let (live, test) = (least_with("livemode = false", "livemode = true"), LEAST.to_owned());
    let mismatch = |mode: bool, prefix: &str| {
        format!(
            "practice.toml:6: key `stripe.livemode` is {mode}, but STRIPE_API_KEY starts with {prefix}: \
             set livemode = {}, or give a key of the other mode",
            !mode
        )
    };
    let unknown = "STRIPE_API_KEY starts with none of sk_live_, rk_live_, sk_test_, rk_test_: \
                   set it to a secret or restricted key of Stripe's dashboard";
    let cases = [
        (&live, "sk_live_s3cr3t", None),
        (&live, "rk_live_s3cr3t", None),
        (&live, "sk_test_s3cr3t", Some(mismatch(true, "sk_test_"))),
        (&live, "rk_test_s3cr3t", Some(mismatch(true, "rk_test_"))),
        (&test, "rk_test_s3cr3t", None),
        (&test, "sk_live_s3cr3t", Some(mismatch(false, "sk_live_"))),
        (&test, "pk_test_s3cr3t", Some(unknown.to_owned())),
    ];
    for (text, key, want) in cases {
        let mut all = environment();
        all.insert("STRIPE_API_KEY", key.to_owned());
        let got = Secrets::from_lookup(|name| all.get(name).cloned(), &parse(text)).err().map(|e| e.to_string());
        assert_eq!(got, want, "{key}");
    }
}
