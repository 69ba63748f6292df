//! Which points of the chain become levels.

use condensec_nest::Assignment;

use super::layers::Costs;
use super::loss::Score;
use super::search::ChainPoint;
use crate::report::Failure;
use condensec_ir::Diagnostic;

/// One point that the user wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    name: String,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    /// Costs no more.
    Cost(f64),
    /// At least so accurate, in [0, 1].
    Accuracy(f64),
}

impl Wish {
    /// The best point that costs no more than `most`.
    pub fn cost(most: f64, name: &str) -> Self {
        Self {
            name: name.to_string(),
            bound: Bound::Cost(most),
        }
    }

    /// The cheapest point with a top-1 accuracy of `least`.
    pub fn accuracy(least: f64) -> Self {
        Self {
            name: format!("top1-{least}"),
            bound: Bound::Accuracy(least),
        }
    }
}

/// The points of the new levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// From the lowest level to the highest, both included.
    pub points: Vec<Assignment>,
    /// Names of the points between them.
    pub names: Vec<String>,
}

/// The points of `chain`, which goes down from the highest level to the lowest, that fulfil `wishes`. Two wishes with
/// the same point are one level.
///
/// # Errors
/// `out-of-reach`: the lowest level costs more, or the highest is not accurate enough.
pub fn choose(
    chain: &[ChainPoint],
    wishes: &[Wish],
    costs: &Costs,
    score: &mut dyn FnMut(&[usize]) -> Result<Score, Failure>,
) -> Result<Choice, Failure> {
    let last = chain.len() - 1;
    // Position in the chain and name, the lowest first.
    let mut found: Vec<(usize, String)> = Vec::new();
    for wish in wishes {
        let at = match wish.bound {
            Bound::Cost(most) => {
                let fits = chain.iter().position(|c| c.cost <= most * (1.0 + 1e-9));
                fits.ok_or_else(|| {
                    out_of_reach(
                        &wish.name,
                        &format!("the lowest level costs {:.4}", costs.of(&chain[last].point)),
                    )
                })?
            }
            Bound::Accuracy(least) => last_accurate(chain, least, score)?
                .ok_or_else(|| out_of_reach(&wish.name, "the highest level is not so accurate"))?,
        };
        found.push((at, wish.name.clone()));
    }
    found.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    found.dedup_by_key(|(at, _)| *at);
    // The ends are levels anyway.
    found.retain(|(at, _)| (1..last).contains(at));
    let mut points = vec![chain[last].point.clone()];
    points.extend(found.iter().map(|(at, _)| chain[*at].point.clone()));
    points.push(chain[0].point.clone());
    Ok(Choice {
        points,
        names: found.into_iter().map(|(_, name)| name).collect(),
    })
}

/// The lowest point of the chain down to which accuracy suffices, by bisection: accuracy falls along the chain, but for
/// scatter.
fn last_accurate(
    chain: &[ChainPoint],
    least: f64,
    score: &mut dyn FnMut(&[usize]) -> Result<Score, Failure>,
) -> Result<Option<usize>, Failure> {
    let mut suffices = |at: usize| -> Result<bool, Failure> {
        Ok(score(&chain[at].point)?
            .top1
            .is_some_and(|top1| top1 >= least))
    };
    if !suffices(0)? {
        return Ok(None);
    }
    let (mut good, mut bad) = (0, chain.len());
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        match suffices(middle)? {
            true => good = middle,
            false => bad = middle,
        }
    }
    Ok(Some(good))
}

fn out_of_reach(wish: &str, why: &str) -> Failure {
    Diagnostic::error("out-of-reach", format!("there is no point for {wish}"))
        .with_note(why.to_string())
        .into()
}
