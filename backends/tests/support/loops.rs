//! The innermost loops of a function, read from its assembly: basic blocks by their labels and
//! branches, loops by their back edges.

use std::collections::BTreeMap;

/// Branches that always jump, and returns.
const ENDS: [&str; 9] = ["b", "b.w", "bx", "j", "jmp", "jmpq", "pop", "ret", "retq"];

#[derive(Default)]
struct Block<'a> {
    instructions: Vec<&'a str>,
    successors: Vec<usize>,
}

/// Instructions of each innermost loop of `assembly`, by its first block.
pub fn innermost_loops(assembly: &str) -> Vec<Vec<&str>> {
    let blocks = basic_blocks(assembly);
    let loops = natural_loops(&blocks);
    let is_innermost = |header: &usize, body: &Vec<usize>| {
        body.iter()
            .all(|block| block == header || !loops.contains_key(block))
    };
    let innermost = loops
        .iter()
        .filter(|(header, body)| is_innermost(header, body));
    innermost
        .map(|(_, body)| {
            let instructions = body.iter().flat_map(|&block| &blocks[block].instructions);
            instructions.copied().collect()
        })
        .collect()
}

/// The name by which branches call the block that `line` begins.
fn label(line: &str) -> Option<String> {
    let (label, _) = line.split_once(':')?;
    if label.contains("BB") {
        return Some(label.to_string());
    }
    // Cranelift's.
    label
        .strip_prefix("block")
        .map(|number| format!("label{number}"))
}

fn basic_blocks(assembly: &str) -> Vec<Block<'_>> {
    let lines: Vec<&str> = assembly.lines().map(str::trim).collect();
    let labels: Vec<String> = lines.iter().filter_map(|line| label(line)).collect();
    let mut blocks = vec![Block::default()];
    // Targets of branches, found when all blocks are known.
    let mut starts = BTreeMap::new();
    let mut jumps = Vec::new();
    for line in lines {
        let at = blocks.len() - 1;
        if let Some(label) = label(line) {
            blocks[at].successors.push(at + 1);
            blocks.push(Block::default());
            starts.insert(label, at + 1);
            continue;
        }
        if line.is_empty() || line.starts_with('.') {
            continue;
        }
        blocks[at].instructions.push(line);
        let words = || line.split(|c: char| c.is_whitespace() || ",;()".contains(c));
        let targets: Vec<&str> = words().filter(|w| labels.iter().any(|l| l == w)).collect();
        // Of two branches in a line of Cranelift's the second always jumps.
        let ends = targets.len() > 1 || words().next().is_some_and(|w| ENDS.contains(&w));
        if ends || !targets.is_empty() {
            jumps.extend(targets.iter().map(|target| (at, target.to_string())));
            if !ends {
                blocks[at].successors.push(at + 1);
            }
            blocks.push(Block::default());
        }
    }
    blocks.push(Block::default());
    for (from, label) in jumps {
        blocks[from].successors.push(starts[&label]);
    }
    blocks
}

/// Blocks of each loop by its header.
fn natural_loops(blocks: &[Block<'_>]) -> BTreeMap<usize, Vec<usize>> {
    let mut predecessors = vec![Vec::new(); blocks.len()];
    for (from, block) in blocks.iter().enumerate() {
        block
            .successors
            .iter()
            .for_each(|&to| predecessors[to].push(from));
    }
    let mut loops: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (end, header) in back_edges(blocks) {
        let body = loops.entry(header).or_insert_with(|| vec![header]);
        let mut open = vec![end];
        while let Some(block) = open.pop() {
            if !body.contains(&block) {
                body.push(block);
                open.extend(&predecessors[block]);
            }
        }
        body.sort_unstable();
    }
    loops
}

/// Edges to a block that is on the way from the entry to their start.
fn back_edges(blocks: &[Block<'_>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut is_on_path = vec![false; blocks.len()];
    let mut was_seen = vec![false; blocks.len()];
    // Block and how many of its successors were followed.
    let mut path = vec![(0, 0)];
    is_on_path[0] = true;
    was_seen[0] = true;
    while let Some((block, n_followed)) = path.last_mut() {
        let block = *block;
        let Some(&next) = blocks[block].successors.get(*n_followed) else {
            is_on_path[block] = false;
            path.pop();
            continue;
        };
        *n_followed += 1;
        if is_on_path[next] {
            found.push((block, next));
        } else if !was_seen[next] {
            was_seen[next] = true;
            is_on_path[next] = true;
            path.push((next, 0));
        }
    }
    found
}
