//! Prompts that are empty, long, or in no language that the tokenizer knows.

use dreamsmith_nets::NetError;

use crate::golden::{CASES, load, values};

#[test]
fn what_is_cut_is_named() {
    for case in CASES {
        let encoder = load(case).with_token_limit(8).unwrap();
        let found = encoder.encode(&["two red", "a red chair and a lamp and two"]);
        let found = found.unwrap();
        assert_eq!(found.states.dims()[1], 8, "{case}");
        let [cut] = &found.cuts[..] else {
            panic!("{case}: {:?}", found.cuts);
        };
        assert_eq!((cut.prompt_idx, cut.n_read, cut.n_cut), (1, 6, 2), "{case}");
        assert_eq!(cut.text, "and two", "{case}");
        let said = cut.to_string();
        assert!(
            said.contains("prompt 2") && said.contains("`and two`"),
            "{said}"
        );

        let short = encoder.encode(&["a red chair and a lamp"]).unwrap();
        let cut = found.states.narrow(0, 1, 1);
        assert_eq!(values(short.states), values(cut), "{case}");
    }
}

#[test]
fn limits_that_leave_nothing_are_refused() {
    for case in CASES {
        let most = load(case).token_limit();
        for limit in [0, 2, most + 1] {
            let refused = load(case).with_token_limit(limit);
            assert!(
                matches!(refused, Err(NetError::TokenLimit { found, .. }) if found == limit),
                "{case}: {limit}"
            );
        }
    }
}

#[test]
fn odd_prompts_are_read() {
    let long = "red chair ".repeat(5000);
    let odd = [
        "",
        " \n\t ",
        "🪑🛋️👩‍👩‍👧",
        "红色的椅子",
        "\u{0}\u{feff}\u{202e}",
        "[SEP] [CLS] </s> <|endoftext|>",
        &"x".repeat(100_000),
        &long,
    ];
    for case in CASES {
        let encoder = load(case);
        let found = encoder.encode(&odd).unwrap();
        assert!(values(found.states).iter().all(|x| x.is_finite()), "{case}");
        assert!(values(found.pooled).iter().all(|x| x.is_finite()), "{case}");
        let cut = found.cuts.last().unwrap();
        assert_eq!(cut.prompt_idx, 7, "{case}");
        assert!(cut.to_string().len() < 300, "{case}: {cut}");
    }
}

#[test]
fn no_prompt_and_endless_prompts_are_refused() {
    let encoder = load("bert");
    assert!(matches!(encoder.encode(&[]), Err(NetError::Prompt { .. })));
    let endless = "x ".repeat(1 << 20);
    let refused = encoder.encode(&[&endless]);
    assert!(matches!(refused, Err(NetError::LongPrompt { .. })));
}
