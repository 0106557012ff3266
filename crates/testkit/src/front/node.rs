//! One tree for both sides of AWS's query protocol: the form that comes in
//! (`Actions.member.1.Type=forward`) and the XML that goes out (`<Actions><member><Type>`) have the
//! same shape, so what the front does not know about is kept and echoed unharmed.

use std::collections::BTreeMap;

/// A value of a request or of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A scalar, as text.
    Text(String),
    /// Named members in the order in which they are written.
    Struct(Vec<(String, Node)>),
    /// A list; its items are called `member` on the wire.
    List(Vec<Node>),
}

/// Deeper nesting than any shape of ELBv2, so that hostile input cannot exhaust the stack.
const MAX_DEPTH: usize = 32;

impl Node {
    /// An empty structure.
    pub fn empty() -> Self {
        Node::Struct(Vec::new())
    }

    /// A scalar.
    pub fn text(value: impl ToString) -> Self {
        Node::Text(value.to_string())
    }

    /// A list of scalars.
    pub fn texts<I: IntoIterator<Item = S>, S: ToString>(values: I) -> Self {
        Node::List(values.into_iter().map(Node::text).collect())
    }

    /// The same structure with one more member, replacing one of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: Node) -> Self {
        self.set(name, value);
        self
    }

    /// The same structure with one more scalar member.
    #[must_use]
    pub fn with_text(self, name: &str, value: impl ToString) -> Self {
        self.with(name, Node::text(value))
    }

    /// Sets a member; anything but a structure becomes one.
    pub fn set(&mut self, name: &str, value: Node) {
        if !matches!(self, Node::Struct(_)) {
            *self = Node::empty();
        }
        if let Node::Struct(members) = self {
            match members.iter_mut().find(|(n, _)| n == name) {
                Some(member) => member.1 = value,
                None => members.push((name.to_owned(), value)),
            }
        }
    }

    /// Takes a member away.
    pub fn remove(&mut self, name: &str) -> Option<Node> {
        let Node::Struct(members) = self else { return None };
        let at = members.iter().position(|(n, _)| n == name)?;
        Some(members.remove(at).1)
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Struct(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The member of that name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        match self {
            Node::Struct(members) => members.iter_mut().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The scalar member of that name; an empty one counts as absent.
    pub fn str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Node::as_str).filter(|s| !s.is_empty())
    }

    /// The scalar itself.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of the list member of that name; none if it is absent or empty.
    pub fn list(&self, name: &str) -> &[Node] {
        match self.get(name) {
            Some(Node::List(items)) => items,
            _ => &[],
        }
    }

    /// The scalar items of the list member of that name.
    pub fn strings(&self, name: &str) -> Vec<String> {
        self.list(name).iter().filter_map(Node::as_str).map(str::to_owned).collect()
    }

    /// Shows every scalar in it, at any depth.
    pub fn each_text(&self, see: &mut dyn FnMut(&str)) {
        match self {
            Node::Text(text) => see(text),
            Node::List(items) => items.iter().for_each(|item| item.each_text(see)),
            Node::Struct(members) => members.iter().for_each(|(_, member)| member.each_text(see)),
        }
    }

    /// Reads a form body.
    pub fn from_form(body: &str) -> Result<Node, String> {
        // The form decoder of the URL type is the one in reach; the host is never looked at.
        let url = reqwest::Url::parse(&format!("http://form.invalid/?{body}")).map_err(|e| e.to_string())?;
        let mut root = Tree::default();
        for (key, value) in url.query_pairs() {
            let parts: Vec<&str> = key.split('.').collect();
            if parts.len() > MAX_DEPTH {
                return Err(format!("parameter {key} is nested too deeply"));
            }
            let mut at = &mut root;
            for part in parts {
                at = at.children.entry(part.to_owned()).or_default();
            }
            at.text = Some(value.into_owned());
        }
        Ok(root.into_node())
    }

    /// Writes the node as the content of an XML element.
    pub fn write_xml(&self, out: &mut String) {
        match self {
            Node::Text(text) => out.push_str(&escape(text)),
            Node::List(items) => items.iter().for_each(|item| element("member", item, out)),
            Node::Struct(members) => members.iter().for_each(|(name, value)| element(name, value, out)),
        }
    }

    /// Reads an XML document; the root element's name and content.
    pub fn from_xml(document: &str) -> Result<(String, Node), String> {
        let mut reader = Reader { rest: document };
        reader.skip_misc()?;
        let (name, node) = reader.element(0)?;
        Ok((name, node))
    }
}

fn element(name: &str, value: &Node, out: &mut String) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    value.write_xml(out);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[derive(Default)]
struct Tree {
    text: Option<String>,
    children: BTreeMap<String, Tree>,
}

impl Tree {
    fn into_node(mut self) -> Node {
        if self.children.is_empty() {
            return Node::Text(self.text.unwrap_or_default());
        }
        if self.children.len() == 1
            && let Some(members) = self.children.remove("member")
        {
            let mut items: Vec<(u64, Node)> = members
                .children
                .into_iter()
                .map(|(index, tree)| (index.parse().unwrap_or(u64::MAX), tree.into_node()))
                .collect();
            items.sort_by_key(|(index, _)| *index);
            return Node::List(items.into_iter().map(|(_, node)| node).collect());
        }
        Node::Struct(self.children.into_iter().map(|(name, tree)| (name, tree.into_node())).collect())
    }
}

/// A reader of the XML that AWS and moto write: elements, text, entities; no DTD, no mixed content.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn until(&mut self, end: &str) -> Result<&'a str, String> {
        let (before, after) = self.rest.split_once(end).ok_or_else(|| format!("XML ends before {end:?}"))?;
        self.rest = after;
        Ok(before)
    }

    fn skip_misc(&mut self) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("<?") {
                self.until("?>")?;
            } else if self.rest.starts_with("<!--") {
                self.until("-->")?;
            } else {
                return Ok(());
            }
        }
    }

    fn element(&mut self, depth: usize) -> Result<(String, Node), String> {
        if depth > MAX_DEPTH {
            return Err("XML is nested too deeply".to_owned());
        }
        let Some(rest) = self.rest.strip_prefix('<') else { return Err("XML element expected".to_owned()) };
        self.rest = rest;
        let tag = self.until(">")?;
        let name: String = tag.chars().take_while(|c| !c.is_whitespace() && *c != '/').collect();
        if tag.ends_with('/') {
            return Ok((name, Node::Text(String::new())));
        }
        let mut children = Vec::new();
        let mut text = String::new();
        loop {
            let at = self.rest.find('<').ok_or_else(|| format!("XML ends within {name}"))?;
            let (before, after) = self.rest.split_at(at);
            text.push_str(&unescape(before));
            self.rest = after;
            if self.rest.starts_with("<!--") {
                self.until("-->")?;
            } else if self.rest.starts_with("</") {
                self.until(">")?;
                return Ok((name, content(children, text)));
            } else {
                children.push(self.element(depth + 1)?);
            }
        }
    }
}

fn content(children: Vec<(String, Node)>, text: String) -> Node {
    if children.is_empty() {
        return Node::Text(text.trim().to_owned());
    }
    // ELBv2 calls list items `member`, EC2 `item`.
    if children.iter().all(|(name, _)| name == "member" || name == "item") {
        return Node::List(children.into_iter().map(|(_, node)| node).collect());
    }
    Node::Struct(children)
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&#34;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_tree_with_lists_in_numeric_order() {
        let form = "Action=X&A.member.10.W=ten&A.member.2.W=two&Empty=&V.member.1=a%26b+c";
        let node = Node::from_form(form).expect("form");
        let weights: Vec<_> = node.list("A").iter().map(|n| n.str("W")).collect();
        assert_eq!(weights, [Some("two"), Some("ten")]);
        assert_eq!(node.strings("V"), ["a&b c"]);
        assert!(node.get("Empty").is_some() && node.list("Empty").is_empty());
    }

    #[test]
    fn xml_is_read_as_it_is_written() {
        let node = Node::empty()
            .with("Rules", Node::List(vec![Node::empty().with_text("Arn", "a<b>&\"c")]))
            .with_text("NextMarker", "");
        let mut xml = String::from("<?xml version=\"1.0\"?>\n<R xmlns=\"u\">");
        node.write_xml(&mut xml);
        xml.push_str("</R>");
        assert_eq!(Node::from_xml(&xml), Ok(("R".to_owned(), node)));
    }

    #[test]
    fn broken_xml_is_an_error() {
        for broken in ["", "x", "<a>", "<a><b></a", "<a"] {
            assert!(Node::from_xml(broken).is_err(), "{broken:?}");
        }
        assert!(Node::from_xml(&"<a>".repeat(1000)).is_err());
    }
}
