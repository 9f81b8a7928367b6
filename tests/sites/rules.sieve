# Each message of the cases says in its X-Rule field which rule is meant for it.
require ["editheader", "ereject", "fileinto", "ihave", "imap4flags", "reject", "variables"];

if header :is "X-Rule" "reject" {
    reject "Not from here";
} elsif header :is "X-Rule" "ereject" {
    ereject "Not from there";
} elsif header :is "X-Rule" "reject with per cent" {
    reject "100% no, 50%% yes, %s";
} elsif header :is "X-Rule" "reject in several lines" {
    reject text:
First line
  second line
.
;
} elsif header :is "X-Rule" "reject in German" {
    reject "Schöne Grüße, aber nein";
} elsif header :is "X-Rule" "discard" {
    discard;
} elsif header :is "X-Rule" "quarantine" {
    fileinto "Quarantine";
} elsif header :is "X-Rule" "error" {
    error "something is missing";
} elsif header :is "X-Rule" "stamp" {
    addheader "X-First" "1";
    addheader :last "X-Last" "2";
} elsif header :matches "X-Rule" "stamp with *" {
    addheader :last "X-Last" "${1}";
} elsif header :is "X-Rule" "delete" {
    deleteheader "X-Note";
} elsif header :is "X-Rule" "delete the last" {
    deleteheader :index 1 :last "X-Note";
} elsif header :is "X-Rule" "relay" {
    addflag "relay:partner";
} elsif header :is "X-Rule" "direct" {
    addflag "direct:printer";
} elsif header :is "X-Rule" "junk" {
    addflag "$Junk";
} elsif header :is "X-Rule" "not junk" {
    addflag "$NotJunk";
}
