//! Markdown as a man page has it: headings, paragraphs, lists, blocks of text, and tables as lists of their rows.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, italic, roman};

/// What follows a heading, such as `## Security`, up to the next of its level or of one above.
pub fn section<'a>(document: &'a str, heading: &str) -> Option<&'a str> {
    let title = format!("\n{heading}\n");
    let text = &document[document.find(&title)? + title.len()..];
    let level = heading.find(' ')?;
    let headings = (2..=level).filter_map(|level| text.find(&format!("\n{} ", "#".repeat(level))));
    Some(&text[..headings.min().map_or(text.len(), |end| end + 1)])
}

/// Writes a text to the end of a page.
pub fn write(text: &str, page: &mut Roff) {
    let mut writer = Writer { page, line: Vec::new(), face: Face::Roman, table: None };
    Parser::new_ext(text, Options::ENABLE_TABLES).for_each(|event| writer.take(event));
}

#[derive(Clone, Copy)]
enum Face {
    Roman,
    Bold,
    Italic,
}

/// A table so far: its head, and the cells of the row that is being read.
#[derive(Default)]
struct Table {
    head: Vec<String>,
    row: Vec<Vec<Inline>>,
}

struct Writer<'a> {
    page: &'a mut Roff,
    line: Vec<Inline>,
    face: Face,
    table: Option<Table>,
}

impl Writer<'_> {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.line.push(match self.face {
                Face::Roman => roman(text.to_string()),
                Face::Bold => bold(text.to_string()),
                Face::Italic => italic(text.to_string()),
            }),
            Event::Code(text) => self.line.push(bold(text.to_string())),
            Event::SoftBreak | Event::HardBreak => self.line.push(roman(" ")),
            // Not in the README; nothing that a page could show.
            Event::Html(_)
            | Event::InlineHtml(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::Rule
            | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Paragraph => _ = self.page.control("PP", []),
            Tag::Item => _ = self.page.control("IP", ["\\(bu", "2"]),
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => {
                self.page.control("PP", []).control("RS", ["4"]).control("EX", []);
            }
            Tag::Strong => self.face = Face::Bold,
            Tag::Emphasis => self.face = Face::Italic,
            Tag::Table(_) => self.table = Some(Table::default()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Item => self.end_line(),
            TagEnd::Heading(_) => {
                let title = plain(&std::mem::take(&mut self.line));
                self.page.control("SS", [title.as_str()]);
            }
            TagEnd::CodeBlock => {
                self.end_line();
                self.page.control("EE", []).control("RE", []);
            }
            TagEnd::Strong | TagEnd::Emphasis => self.face = Face::Roman,
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.line);
                if let Some(table) = &mut self.table {
                    table.row.push(cell);
                }
            }
            TagEnd::TableHead => {
                if let Some(table) = &mut self.table {
                    table.head = table.row.drain(..).map(|cell| plain(&cell)).collect();
                }
            }
            TagEnd::TableRow => self.end_row(),
            TagEnd::Table => self.table = None,
            _ => {}
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.page.text(line);
        }
    }

    /// The first cell is what the row is about. Of more than two, the others say what they are.
    fn end_row(&mut self) {
        let Some(table) = &mut self.table else { return };
        let mut row = table.row.drain(..).zip(&table.head);
        let Some((about, _)) = row.next() else { return };
        let cells: Vec<(Vec<Inline>, &String)> = row.filter(|(cell, _)| !cell.is_empty()).collect();
        let is_wide = table.head.len() > 2;
        self.page.control("TP", []).text(about);
        let mut text = Vec::new();
        for (at, (cell, head)) in cells.into_iter().enumerate() {
            if at > 0 {
                text.push(roman("; "));
            }
            if is_wide {
                text.push(italic(head.clone()));
                text.push(roman(": "));
            }
            text.extend(cell);
        }
        if !text.is_empty() {
            self.page.text(text);
        }
    }
}

/// A line without its faces.
fn plain(line: &[Inline]) -> String {
    line.iter()
        .map(|inline| match inline {
            Inline::Roman(text) | Inline::Italic(text) | Inline::Bold(text) => text.as_str(),
            Inline::LineBreak => " ",
        })
        .collect()
}
