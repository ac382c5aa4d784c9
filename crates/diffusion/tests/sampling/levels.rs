//! Schedules, conversions between the scales of noise, spacings, and what `Levels` admits.

use burn::tensor::Tensor;
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_diffusion::level::{Schedule, Sigma, Timestep};
use dreamsmith_diffusion::levels::{Levels, LevelsError, MAX_STEPS};
use dreamsmith_diffusion::noise::NativeNoise;
use dreamsmith_diffusion::schedule::{Betas, ScheduleError, ScheduleSpec, TerminalSnr};
use dreamsmith_diffusion::spacing::{AlignedTable, SigmaRange, Spacing};

use crate::setting::{Fixed, SHAPE, device, linear, sample, schedule, values};

const ALL_BETAS: [Betas; 4] = [
    Betas::Linear {
        start: 1e-4,
        end: 0.02,
    },
    Betas::ScaledLinear {
        start: 0.00085,
        end: 0.012,
    },
    Betas::Cosine {},
    Betas::Sigmoid {
        start: 1e-4,
        end: 0.02,
    },
];

const ALL_SPACINGS: [Spacing; 10] = [
    Spacing::Linspace {},
    Spacing::Leading { offset: 0 },
    Spacing::Leading { offset: 1 },
    Spacing::Trailing {},
    Spacing::Karras { rho: 7.0 },
    Spacing::Exponential {},
    Spacing::Polyexponential { rho: 2.0 },
    Spacing::AlignYourSteps {
        table: AlignedTable::Sdxl,
    },
    Spacing::Flow { shift: 3.0 },
    Spacing::Consistency { origin: 50 },
];

#[test]
fn cosine_in_double_precision() {
    let betas = Betas::Cosine {}.values(1000);
    let products: Vec<f64> = betas
        .iter()
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect();
    // Seven digits are given.
    assert!((products[249] - 0.8470122).abs() < 1e-7);
    assert!((products[499] - 0.4938436).abs() < 1e-7);
    assert!((products[999] / 2.42877e-9 - 1.0).abs() < 1e-5);
    assert!((betas.iter().sum::<f64>() - 12.441496).abs() < 1e-6);
}

#[test]
fn tables_fall_and_invert() {
    for betas in ALL_BETAS {
        for timesteps in [10, 100, 1000] {
            for terminal_snr in [TerminalSnr::AsTrained, TerminalSnr::Zero] {
                let table = schedule(betas, timesteps, terminal_snr);
                for t in 0..timesteps {
                    let (sigma, alpha_bar) =
                        (table.sigma(Timestep(t)), table.alpha_bar(Timestep(t)));
                    assert_eq!(table.timestep_at(sigma), f64::from(t), "exact at entries");
                    assert_eq!(table.sigma_at(f64::from(t)), sigma, "exact at entries");
                    // 1 + sigma^2 keeps what f64 has of 1 - alpha_bar.
                    assert!((sigma.alpha_bar() / alpha_bar - 1.0).abs() < 1e-12);
                }
                let between = table.sigma_at(4.3);
                assert!((table.timestep_at(between) - 4.3).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn zero_terminal_snr_leaves_nothing() {
    for betas in ALL_BETAS {
        let table = schedule(betas, 1000, TerminalSnr::Zero);
        assert!(table.alpha_bar(table.last()).sqrt() <= 1e-6);
        let first = schedule(betas, 1000, TerminalSnr::AsTrained).alpha_bar(Timestep(0));
        assert!(
            (table.alpha_bar(Timestep(0)) - first).abs() < 1e-7,
            "the first level stays"
        );
    }
}

#[test]
fn scales_of_noise_round_trip() {
    for sigma in [1e-3, 0.1, 1.0, 14.6, 157.0] {
        let sigma = Sigma(sigma);
        for back in [
            Sigma::from_alpha_bar(sigma.alpha_bar()),
            Sigma::from_log_snr(sigma.log_snr()),
            Sigma::from_flow_time(sigma.flow_time()),
        ] {
            // 1 - alpha_bar loses the square of small sigmas: 1e-16 / 1e-6.
            assert!((back.0 / sigma.0 - 1.0).abs() < 1e-9);
        }
        assert!((sigma.snr().ln() - sigma.log_snr()).abs() < 1e-12);
    }
}

#[test]
fn impossible_schedules_are_errors() {
    let build = |betas, timesteps| {
        Schedule::new(&ScheduleSpec {
            betas,
            timesteps,
            terminal_snr: TerminalSnr::AsTrained,
        })
    };
    assert!(matches!(
        build(Betas::Cosine {}, 0),
        Err(ScheduleError::Timesteps { found: 0 })
    ));
    assert!(matches!(
        build(Betas::Cosine {}, 1),
        Err(ScheduleError::Timesteps { found: 1 })
    ));
    for (start, end) in [
        (0.0, 0.02),
        (0.02, 1e-4),
        (1e-4, 1.0),
        (f64::NAN, 0.02),
        (1e-4, f64::NAN),
    ] {
        assert!(matches!(
            build(Betas::Linear { start, end }, 10),
            Err(ScheduleError::Range { .. })
        ));
    }
    let fading = build(
        Betas::Linear {
            start: 0.5,
            end: 0.9,
        },
        1000,
    );
    assert!(
        matches!(fading, Err(ScheduleError::Exhausted { .. })),
        "{fading:?}"
    );
}

#[test]
fn every_spacing_falls_to_zero() {
    for betas in ALL_BETAS {
        for terminal_snr in [TerminalSnr::AsTrained, TerminalSnr::Zero] {
            let table = schedule(betas, 1000, terminal_snr);
            for spacing in ALL_SPACINGS {
                for steps in [1, 2, 3, 10, 17, 50] {
                    let levels = spacing.levels(steps, &table).unwrap();
                    assert_eq!(levels.n_steps(), steps, "{spacing} {steps}");
                    assert_eq!(levels.last(), Sigma(0.0));
                    for step in levels.steps() {
                        let halfway = levels.halfway(step).0;
                        let inside = step.next < halfway && halfway < step.sigma;
                        assert!(
                            inside || step.next == 0.0,
                            "{spacing} {steps}: {step:?} {halfway}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn spacings_by_sigma_span_their_range() {
    let (low, high) = (SigmaRange::EDM.min().0, SigmaRange::EDM.max().0);
    for spacing in [
        Spacing::Karras { rho: 7.0 },
        Spacing::Exponential {},
        Spacing::Polyexponential { rho: 0.7 },
    ] {
        let sigmas: Vec<f64> = spacing
            .levels_between(5, SigmaRange::EDM)
            .unwrap()
            .sigmas()
            .map(|s| s.0)
            .collect();
        assert!((sigmas[0] / high - 1.0).abs() < 1e-12 && (sigmas[4] / low - 1.0).abs() < 1e-12);
    }
    let middle = |spacing: Spacing| {
        spacing
            .levels_between(3, SigmaRange::EDM)
            .unwrap()
            .sigmas()
            .nth(1)
            .unwrap()
            .0
    };
    assert!((middle(Spacing::Exponential {}) - (low * high).sqrt()).abs() < 1e-12);
    let root = |sigma: f64| sigma.powf(1.0 / 7.0);
    let karras = (0.5 * (root(low) + root(high))).powi(7);
    assert!((middle(Spacing::Karras { rho: 7.0 }) - karras).abs() < 1e-12);
}

#[test]
fn aligned_steps_keep_their_table() {
    let sigmas = |steps| -> Vec<f64> {
        let spacing = Spacing::AlignYourSteps {
            table: AlignedTable::Sd1,
        };
        spacing
            .levels_between(steps, SigmaRange::EDM)
            .unwrap()
            .sigmas()
            .map(|sigma| sigma.0)
            .collect()
    };
    let (ten, twenty) = (sigmas(10), sigmas(20));
    assert!((ten[3] - 2.697).abs() < 1e-12 && (ten[9] - 0.152).abs() < 1e-12);
    for i in 0..9 {
        assert!((twenty[2 * i] - ten[i]).abs() < 1e-12);
        assert!((twenty[2 * i + 1] - (ten[i] * ten[i + 1]).sqrt()).abs() < 1e-12);
    }
}

#[test]
fn flow_shift_moves_time() {
    let levels = Spacing::Flow { shift: 3.0 }
        .levels_between(4, SigmaRange::FLOW)
        .unwrap();
    let times: Vec<f64> = levels.sigmas().map(Sigma::flow_time).collect();
    // t' = 3 t / (1 + 2 t); time 1 itself has no finite sigma.
    for (found, expected) in times.iter().zip([1.0, 0.9, 0.75, 0.5, 0.0]) {
        assert!((found - expected).abs() < 1e-5);
    }
}

#[test]
fn impossible_spacings_are_errors() {
    let table = linear(100);
    for spacing in ALL_SPACINGS {
        assert!(
            matches!(
                spacing.levels(0, &table),
                Err(LevelsError::Steps { found: 0, .. })
            ),
            "{spacing}"
        );
        assert!(spacing.levels(MAX_STEPS + 1, &table).is_err(), "{spacing}");
    }
    let many = Spacing::Trailing {}.levels(101, &table);
    assert_eq!(
        many,
        Err(LevelsError::Steps {
            found: 101,
            limit: 100
        })
    );
    for spacing in [
        Spacing::Leading { offset: 1 }.levels(100, &table),
        Spacing::Consistency { origin: 0 }.levels(1, &table),
        Spacing::Consistency { origin: 101 }.levels(1, &table),
        Spacing::Karras { rho: 0.0 }.levels(5, &table),
        Spacing::Karras { rho: f64::NAN }.levels(5, &table),
        Spacing::Flow { shift: -1.0 }.levels(5, &table),
    ] {
        assert!(
            matches!(spacing, Err(LevelsError::Parameter { .. })),
            "{spacing:?}"
        );
    }
    let without = Spacing::Linspace {}.levels_between(5, SigmaRange::EDM);
    assert!(matches!(
        without,
        Err(LevelsError::NoTimesteps {
            spacing: "linspace"
        })
    ));
    for (min, max) in [
        (0.0, 1.0),
        (1.0, 1.0),
        (2.0, 1.0),
        (f64::NAN, 1.0),
        (1.0, f64::INFINITY),
    ] {
        assert!(SigmaRange::new(Sigma(min), Sigma(max)).is_err());
    }
}

#[test]
fn levels_admit_only_what_falls() {
    let of = |sigmas: &[f64]| Levels::new(sigmas.iter().copied().map(Sigma).collect());
    assert!(of(&[1.0, 0.0]).is_ok());
    assert!(matches!(of(&[]), Err(LevelsError::Steps { found: 0, .. })));
    assert!(matches!(
        of(&[0.0]),
        Err(LevelsError::Steps { found: 0, .. })
    ));
    assert!(matches!(
        of(&[1.0, 0.5]),
        Err(LevelsError::End { found: 0.5 })
    ));
    assert!(matches!(
        of(&[1.0, 1.0, 0.0]),
        Err(LevelsError::NotFalling { index: 1, .. })
    ));
    assert!(matches!(
        of(&[1.0, 2.0, 0.0]),
        Err(LevelsError::NotFalling { index: 1, .. })
    ));
    assert!(matches!(
        of(&[f64::INFINITY, 0.0]),
        Err(LevelsError::NotALevel { index: 0, .. })
    ));
    assert!(matches!(
        of(&[1.0, f64::NAN, 0.0]),
        Err(LevelsError::NotALevel { index: 1, .. })
    ));
    assert!(matches!(
        of(&[1.0, -0.5]),
        Err(LevelsError::NotALevel { index: 1, .. })
    ));
    assert!(matches!(
        of(&[1.0, 0.0]).unwrap().without_zero(),
        Err(LevelsError::Steps { found: 0, .. })
    ));
}

/// Random lists: either an error, or what the type promises.
#[test]
fn levels_keep_their_promise() {
    let mut stream = Stream::new(3, Purpose::Shuffle, 0);
    let mut admitted = 0;
    for _ in 0..2_000 {
        let count = 1 + stream.below(4) as usize;
        let sigmas: Vec<Sigma> = (0..count)
            .map(|_| Sigma(stream.below(6) as f64 - 1.0))
            .collect();
        if let Ok(levels) = Levels::new(sigmas) {
            admitted += 1;
            assert!(
                levels
                    .steps()
                    .all(|step| step.sigma > step.next && step.next >= 0.0)
            );
            assert_eq!(levels.last(), Sigma(0.0));
        }
    }
    assert!(admitted > 50, "only {admitted} lists were good");
}

#[test]
fn strength_keeps_the_end_of_the_walk() {
    let levels = Spacing::Trailing {}.levels(10, &linear(1000)).unwrap();
    assert_eq!(levels.from_strength(1.0).unwrap(), levels);
    for (strength, steps) in [(0.5, 5), (0.39, 3), (0.01, 1)] {
        let part = levels.from_strength(strength).unwrap();
        assert_eq!(part.n_steps(), steps);
        let tail: Vec<Sigma> = levels.sigmas().skip(10 - steps).collect();
        assert_eq!(part.sigmas().collect::<Vec<_>>(), tail);
    }
    for strength in [0.0, -0.5, 1.01, f64::NAN] {
        assert!(matches!(
            levels.from_strength(strength),
            Err(LevelsError::Strength { .. })
        ));
    }
}

#[test]
fn starts_have_their_level() {
    let levels = Spacing::Karras { rho: 7.0 }
        .levels_between(4, SigmaRange::EDM)
        .unwrap();
    let part = levels.from_strength(0.5).unwrap();
    let noised = part.noised(sample(), &mut Fixed(Tensor::ones(SHAPE, &device())));
    let sigma = part.first().0 as f32;
    for (noisy, clean) in values(noised).iter().zip(values(sample())) {
        assert_eq!(*noisy, clean + sigma);
    }
    let start = values(levels.pure_noise(&mut NativeNoise::new(&[1]), [1, 3, 64, 64], &device()));
    let deviation = (start.iter().map(|x| x * x).sum::<f32>() / start.len() as f32).sqrt();
    // Four standard errors of a deviation from 12288 values: 4 / sqrt(2 n) = 2.6 %.
    assert!((deviation / 80.00625 - 1.0).abs() < 0.026, "{deviation}");
}

#[test]
fn names_of_spacings_round_trip() {
    for spacing in ALL_SPACINGS {
        assert_eq!(spacing.to_string().parse::<Spacing>().unwrap(), spacing);
    }
    assert_eq!(
        "karras".parse::<Spacing>().unwrap(),
        Spacing::Karras { rho: 7.0 }
    );
    assert_eq!(
        "leading:offset=1".parse::<Spacing>().unwrap(),
        Spacing::Leading { offset: 1 }
    );
    for bad in ["", "karas", "karras:row=7", "karras:7", "trailing:offset=1"] {
        let error = bad.parse::<Spacing>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("spacing `{bad}`")), "{error}");
    }
}
