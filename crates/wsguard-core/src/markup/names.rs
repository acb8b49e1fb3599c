//! The names a browser gives a meaning to: elements of HTML, SVG and MathML, and attributes.
//!
//! Sorted and in lower case, one packed block each (hence `rustfmt::skip`), so that a lookup is a binary search (a test holds that). Obsolete and non-standard names
//! stand here too where a browser still honours them, did within living memory, or may soon (`permission`, `model`):
//! a name too many costs an escaped `<`, a name too few may cost a page.
//!
//! # Specification
//! HTML Living Standard (elements, attributes, §16 obsolete features); SVG 2, SVG 1.1 and SVG Tiny 1.2; SMIL 3.0;
//! MathML 3 §3 (presentation) and MathML Core; WAI-ARIA 1.3; `RDFa` Core 1.1

/// Formatting elements that pass: they load, name, navigate and switch nothing, and no end tag of theirs makes an
/// element by itself (as `</p>` and `</br>` do).
#[rustfmt::skip]
pub(super) const PLAIN_ELEMENTS: &[&str] = &[
    "b", "code", "em", "i", "s", "strong", "sub", "sup", "u",
];

/// Elements that the parser opens anew where an end tag closed them from outside (§13.2.4.3).
#[rustfmt::skip]
pub(super) const FORMATTING_ELEMENTS: &[&str] = &[
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
];

/// Elements of HTML.
#[rustfmt::skip]
pub(super) const HTML_ELEMENTS: &[&str] = &[
    "a", "abbr", "acronym", "address", "applet", "area", "article", "aside", "audio", "b", "base", "basefont",
    "bdi", "bdo", "bgsound", "big", "blink", "blockquote", "body", "br", "button", "camera", "canvas",
    "caption", "center", "cite", "code", "col", "colgroup", "command", "content", "credential", "data",
    "datalist", "dd", "del", "details", "dfn", "dialog", "dir", "div", "dl", "dt", "element", "em", "embed",
    "fencedframe", "fieldset", "figcaption", "figure", "font", "footer", "form", "frame", "frameset",
    "geolocation", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html", "i",
    "iframe", "ilayer", "image", "img", "input", "ins", "install", "isindex", "kbd", "keygen", "label",
    "layer", "legend", "li", "link", "listbox", "listing", "login", "main", "map", "mark", "marquee", "math",
    "menu", "menubar", "menuitem", "menulist", "meta", "meter", "microphone", "model", "multicol", "nav",
    "nextid", "nobr", "noembed", "noframes", "nolayer", "noscript", "object", "ol", "optgroup", "option",
    "output", "p", "param", "permission", "picture", "plaintext", "portal", "pre", "progress", "q", "rb",
    "rbc", "rp", "rt", "rtc", "ruby", "s", "samp", "script", "search", "section", "select", "selectedcontent",
    "selectlist", "selectmenu", "shadow", "slot", "small", "source", "spacer", "span", "strike", "strong",
    "style", "sub", "submenu", "summary", "sup", "svg", "table", "tbody", "td", "template", "textarea",
    "tfoot", "th", "thead", "time", "title", "tr", "track", "tt", "u", "ul", "usermedia", "var", "video",
    "wbr", "webview", "xmp",
];

/// Elements of SVG, including animation, filters, fonts and the vocabulary of Tiny 1.2.
#[rustfmt::skip]
pub(super) const SVG_ELEMENTS: &[&str] = &[
    "a", "altglyph", "altglyphdef", "altglyphitem", "animate", "animatecolor", "animatemotion",
    "animatetransform", "animation", "audio", "canvas", "circle", "clippath", "color-profile", "cursor",
    "defs", "desc", "discard", "ellipse", "feblend", "fecolormatrix", "fecomponenttransfer", "fecomposite",
    "feconvolvematrix", "fediffuselighting", "fedisplacementmap", "fedistantlight", "fedropshadow", "feflood",
    "fefunca", "fefuncb", "fefuncg", "fefuncr", "fegaussianblur", "feimage", "femerge", "femergenode",
    "femorphology", "feoffset", "fepointlight", "fespecularlighting", "fespotlight", "fetile", "feturbulence",
    "filter", "flowdiv", "flowline", "flowpara", "flowregion", "flowregionexclude", "flowroot", "flowspan",
    "flowtref", "font", "font-face", "font-face-format", "font-face-name", "font-face-src", "font-face-uri",
    "foreignobject", "g", "glyph", "glyphref", "handler", "hatch", "hatchpath", "hkern", "iframe", "image",
    "line", "lineargradient", "listener", "marker", "mask", "mesh", "meshgradient", "meshpatch", "meshrow",
    "metadata", "missing-glyph", "mpath", "path", "pattern", "polygon", "polyline", "prefetch",
    "radialgradient", "rect", "script", "set", "solidcolor", "stop", "style", "svg", "switch", "symbol",
    "tbreak", "text", "textarea", "textpath", "title", "tref", "tspan", "use", "video", "view", "vkern",
];

/// Elements of MathML that browsers lay out.
///
/// Content markup (MathML 3 §4) is left out: no browser implements it, and its names are ordinary words of code
/// (`int`, `vector`, `list`, `max`), which must pass.
#[rustfmt::skip]
pub(super) const MATHML_ELEMENTS: &[&str] = &[
    "annotation", "annotation-xml", "maction", "maligngroup", "malignmark", "math", "menclose", "merror",
    "mfenced", "mfrac", "mglyph", "mi", "mlabeledtr", "mlongdiv", "mmultiscripts", "mn", "mo", "mover",
    "mpadded", "mphantom", "mprescripts", "mroot", "mrow", "ms", "mscarries", "mscarry", "msgroup", "msline",
    "mspace", "msqrt", "msrow", "mstack", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext",
    "mtr", "munder", "munderover", "none", "semantics",
];

/// Attributes of HTML. Event handlers, `aria-*`, `data-*` and prefixed names are refused by their shape.
#[rustfmt::skip]
pub(super) const HTML_ATTRIBUTES: &[&str] = &[
    "abbr", "about", "accept", "accept-charset", "accesskey", "accuracymode", "action", "actuate",
    "adauctionheaders", "align", "alink", "allow", "allowfullscreen", "allowpaymentrequest",
    "allowtransparency", "allowusermedia", "alpha", "alt", "archive", "arcrole", "aria", "as", "async",
    "attributionsrc", "autocapitalize", "autocomplete", "autocorrect", "autofocus", "autolocate", "autoplay",
    "autosave", "autosubmit", "axis", "background", "balance", "base", "behavior", "bgcolor", "blocking",
    "border", "bordercolor", "bordercolordark", "bordercolorlight", "bottommargin", "browsingtopics",
    "buffered", "capture", "cellborder", "cellpadding", "cellspacing", "challenge", "char", "charoff",
    "charset", "checked", "cite", "class", "classid", "clear", "clientid", "clip", "closedby", "code",
    "codebase", "codetype", "color", "colorspace", "cols", "colspan", "command", "commandfor", "compact",
    "configurl", "connectionallowlist", "containertiming", "containertimingignore", "content",
    "contenteditable", "contextmenu", "controls", "controlslist", "coords", "credentialless", "crossorigin",
    "csp", "data", "datafld", "dataformatas", "datapagesize", "datasrc", "datatype", "datetime", "declare",
    "decoding", "default", "defer", "dir", "direction", "dirname", "disabled", "disablepictureinpicture",
    "disableremoteplayback", "domainhint", "download", "draggable", "dropzone", "dynsrc", "elementtiming",
    "enctype", "enterkeyhint", "event", "exportparts", "face", "fetchpriority", "focusgroup",
    "focusgroupstart", "for", "form", "formaction", "formenctype", "formmethod", "formnovalidate",
    "formtarget", "frame", "frameborder", "headers", "headingoffset", "headingreset", "height", "hidden",
    "hidefocus", "high", "href", "hreflang", "hspace", "html", "http-equiv", "icon", "id", "imagesizes",
    "imagesrcset", "importance", "incremental", "inert", "inputmode", "integrity", "interestfor",
    "irrelevant", "is", "ismap", "itemid", "itemprop", "itemref", "itemscope", "itemtype", "keyparams",
    "keytype", "kind", "label", "lang", "language", "layoutsubtree", "leftmargin", "link", "list", "loading",
    "loginhint", "longdesc", "loop", "loopdelay", "loopend", "loopstart", "low", "lowsrc", "manifest",
    "marginheight", "marginwidth", "max", "maxlength", "mayscript", "media", "mediagroup", "method",
    "methods", "min", "minlength", "moz-opaque", "mozallowfullscreen", "mozbrowser", "multiple", "muted",
    "name", "nargs", "nearestviewport", "nohref", "nomodule", "nonce", "noresize", "noshade", "novalidate",
    "nowrap", "open", "optimum", "overscrollarea", "overscrollcontainer", "part", "pattern", "ping",
    "placeholder", "playsinline", "pluginspage", "pluginurl", "policy", "popover", "popovertarget",
    "popovertargetaction", "poster", "prefetch", "prefix", "preload", "privatetoken", "profile", "prompt",
    "property", "pseudo", "radiogroup", "readonly", "referrerpolicy", "rel", "required", "resource",
    "results", "rev", "reversed", "rightmargin", "role", "rows", "rowspan", "rules", "runat", "sandbox",
    "scheme", "scope", "scoped", "scrollamount", "scrolldelay", "scrolling", "seamless", "security", "select",
    "selected", "shadowroot", "shadowrootadoptedstylesheets", "shadowrootclonable",
    "shadowrootcustomelementregistry", "shadowrootdelegatesfocus", "shadowrootmode",
    "shadowrootreferencetarget", "shadowrootserializable", "shadowrootslotassignment", "shape",
    "sharedstoragewritable", "size", "sizes", "slot", "span", "specrules", "spellcheck", "src", "srcdoc",
    "srclang", "srcset", "standby", "start", "step", "style", "summary", "switch", "tabindex", "target",
    "template", "text", "title", "top", "topmargin", "translate", "truespeed", "type", "typemustmatch",
    "typeof", "unselectable", "usemap", "valign", "value", "valuetype", "version", "virtualkeyboardpolicy",
    "vlink", "vocab", "vrml", "vspace", "watch", "webkitallowfullscreen", "webkitallowsdirectorypicker",
    "webkitattachmentpath", "webkitdirectory", "webkitdropzone", "webkitimagemenu", "webkitinitialfocus",
    "webkitspeech", "width", "wrap", "writingsuggestions", "xmlns",
];

/// Attributes of SVG and MathML.
///
/// Single letters and everyday words (`from`, `in`, `string`, `values`) are left out: HTML does not know them, no
/// element that would honour them passes, and `if (x<y && y>z)` and `<T extends string>` must.
#[rustfmt::skip]
pub(super) const FOREIGN_ATTRIBUTES: &[&str] = &[
    "accentunder", "accumulate", "actiontype", "alignmentscope", "altimg", "alttext", "amplitude", "ascent",
    "attributename", "attributetype", "azimuth", "basefrequency", "baseprofile", "bbox", "beveled", "bias",
    "calcmode", "clippathunits", "columnalign", "columnlines", "columnspacing", "columnspan", "columnwidth",
    "contentscripttype", "contentstyletype", "crossout", "cx", "cy", "decimalpoint", "definitionurl",
    "denomalign", "diffuseconstant", "displaystyle", "divisor", "dx", "dy", "edgemode", "equalcolumns",
    "equalrows", "exponent", "externalresourcesrequired", "filterres", "filterunits", "fontfamily",
    "fontsize", "fontstyle", "fontweight", "fr", "framespacing", "fx", "fy", "g1", "g2", "glyphref",
    "gradienttransform", "gradientunits", "groupalign", "hanging", "ideographic", "in2", "indentalign",
    "indentalignfirst", "indentalignlast", "indentshift", "indentshiftfirst", "indentshiftlast",
    "indenttarget", "infixlinebreakstyle", "intercept", "k1", "k2", "k3", "k4", "kernelmatrix",
    "kernelunitlength", "kerning", "keypoints", "keysplines", "keytimes", "largeop", "leftoverhang",
    "lengthadjust", "limitingconeangle", "linebreak", "linebreakmultchar", "linebreakstyle", "lineleading",
    "linethickness", "longdivstyle", "lquote", "lspace", "macros", "markerheight", "markerunits",
    "markerwidth", "maskcontentunits", "maskunits", "mathbackground", "mathcolor", "mathematical", "mathsize",
    "mathvariant", "maxsize", "minlabelspacing", "minsize", "movablelimits", "mslinethickness", "numalign",
    "numoctaves", "opacity", "pathlength", "patterncontentunits", "patterntransform", "patternunits",
    "pointsatx", "pointsaty", "pointsatz", "preservealpha", "preserveaspectratio", "primitiveunits", "refx",
    "refy", "repeatcount", "repeatdur", "requiredextensions", "requiredfeatures", "requiredfonts",
    "requiredformats", "rightoverhang", "rowalign", "rowlines", "rowspacing", "rquote", "rspace", "rx", "ry",
    "scriptlevel", "scriptminsize", "scriptsizemultiplier", "snapshottime", "specularconstant",
    "specularexponent", "spreadmethod", "stackalign", "startoffset", "stddeviation", "stemh", "stemv",
    "stitchtiles", "stretchy", "subscriptshift", "superscriptshift", "surfacescale", "systemlanguage",
    "tablevalues", "targetx", "targety", "textlength", "timelinebegin", "u1", "u2", "vectorsize", "viewbox",
    "viewtarget", "voffset", "widths", "xchannelselector", "xref", "ychannelselector", "zoomandpan",
];
