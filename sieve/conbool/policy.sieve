# Policy for Conbool, after the vendor's guide "SMTP Relay", steps C and D.
#
# Runs after the trust check: released, flagged and loop-header are "yes" only in mail from the relay itself.
# Without a keyword from here, mail of senders in scope goes to the relay and all other mail goes where it always did.
# conbool-milter-sieve(5) lists the items and keywords.

require ["environment", "imap4flags"];

# Step D: released mail is trusted and is not sent through the relay again. It wins over the spam marker.
if environment :is "vnd.conbool.released" "yes" {
    addflag ["$NotJunk", "direct:released"];
} elsif environment :is "vnd.conbool.flagged" "yes" {
    # Step C: spam.
    addflag "$Junk";
}

# Step C: what has been through the relay is delivered directly.
if environment :is "vnd.conbool.loop-header" "yes" {
    addflag "direct:loop-header";
}

# Step C: an empty Return-Path, which is the null envelope sender.
if environment :is "vnd.conbool.null-sender" "yes" {
    addflag "direct:null-sender";
}

# Step C: meeting requests and responses.
if allof (environment :is "vnd.conbool.direction" "outbound",
          environment :is "vnd.conbool.in-scope" "yes",
          environment :is "vnd.conbool.kind" "calendaring") {
    addflag "direct:calendaring";
}
