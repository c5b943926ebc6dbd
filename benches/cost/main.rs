//! What twitcher costs, each figure beside one of the same run: a program of a few lines on the same client library
//! (`bare_client`), and what one would write or take instead (`rivals`). The ways take turns, so that whatever else the
//! machine does falls on all alike, and it is the ratios that can be compared between machines.
//!
//! Prints a table in Markdown, with the goals beside the figures; asserts nothing.

mod bare_client;
mod daemons;
mod etcd;
mod fleet;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod machine;
mod poke;
mod rate;
mod resources;
mod rivals;
mod stamps;
mod table;

use harness::Folder;
use stamps::Program;
use table::Table;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    if arguments.next().as_deref() == Some(bare_client::WORD) {
        return bare_client::be(arguments);
    }
    let folder = Folder::new();
    let program = Program::compile(&folder);
    let mut table = Table::default();
    eprintln!("{}", machine::describe(&folder));
    // With one word of it, a part alone.
    let wanted = std::env::var("TWITCHER_BENCH").ok();
    let mut part = |name: &str, measure: fn(&Program, &mut Table)| {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            eprintln!("measuring: {name}");
            measure(&program, &mut table);
        }
    };
    part("poke", poke::measure);
    part("rate", rate::measure);
    part("resources", resources::measure);
    part("fleet", fleet::measure);
    println!("{}\n\n{table}", machine::describe(&folder));
}
