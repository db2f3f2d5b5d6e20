//! `usage`: what commands used, each a process of its own that ends at once.

use crate::support::Home;

const PRICED: &str =
    "[providers.echo]\ncommand = \"/usr/bin/env MODEL={model} /bin/cat\"\n[prices.\"echo/m\"]\ninput = 1\noutput = 2\n";

#[test]
fn what_commands_used_is_summed_and_shown() {
    let home = Home::with(PRICED);
    for model in ["m", "m", "other"] {
        home.run(["generate", "hello there, you", "--provider", "echo", "-m", model]).succeeds();
    }
    let report = home.run(["usage", "--by", "provider,model", "--json"]).succeeds().json();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{report}");
    assert_eq!(
        (&rows[0]["provider"], &rows[0]["model"], &rows[0]["requests"]),
        (&"echo".into(), &"m".into(), &2.into())
    );
    // A program tells no counts: they are estimated, and priced.
    assert_eq!((&rows[0]["estimated"], &rows[0]["unpriced"]), (&2.into(), &0.into()));
    assert!(rows[0]["cost_micros"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(
        (&rows[1]["model"], &rows[1]["unpriced"], &rows[1]["cost_micros"]),
        (&"other".into(), &1.into(), &0.into())
    );
    assert_eq!(report["total"]["requests"], 3);
    insta::assert_snapshot!(home.run(["usage", "--by", "model"]).succeeds().stdout);
    let day = report["until"].as_str().unwrap();
    let by_day = home.run(["usage", "--since", "7d", "--json"]).succeeds().json();
    assert_eq!(by_day["rows"][0]["day"], day);
    let none = home.run(["usage", "--until", "2020-01-02", "--since", "2020-01-01", "--json"]).succeeds().json();
    assert_eq!((&none["rows"], &none["total"]["requests"]), (&serde_json::json!([]), &0.into()));
    let unknown = home.run(["usage", "--key", "nobody"]).fails(2);
    assert!(unknown.contains(r#"no key "nobody" is in the books"#), "{unknown}");
}

#[test]
fn what_cannot_be_asked_is_said_with_the_way_out() {
    let home = Home::with(PRICED);
    for words in [["--by", "colour"], ["--since", "yesterday"], ["--until", "2020-02-30"]] {
        let said = home.run(["usage"]).word(words[0]).word(words[1]).fails(2);
        assert!(said.contains("hint:"), "{said}");
    }
}
