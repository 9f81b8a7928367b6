# Policy for SecuMailer, after the vendor's guide "Microsoft 365", in the order of its section "Rule Order".
#
# Whoever is in [scope.avg] or [scope.nta7516] is in scope, and mail of senders in scope goes to the relay without a
# keyword from here; this script adds what SecuMailer is to read, and takes automatic replies out.
# conbool-milter-sieve(5) lists the items and keywords.
#
# The guide's exception for recipients inside the organisation: without any recipient outside, nothing is added. Where
# there are both, the fields are in every copy, for a message has one header section; the relay is for those outside only.
#
# The guide exempts neither meeting requests, which so go to the relay, nor bounces. These have the null sender (RFC
# 5321, section 4.5.5), who is a member of no group: they go where they always went.

require ["editheader", "environment", "imap4flags", "variables"];

# Nothing here is for mail that comes in, nor for mail that stays inside.
if anyof (not environment :is "vnd.conbool.direction" "outbound",
          environment :is "vnd.conbool.recipients" "inside") {
    stop;
}

# 1. "Out Of Office Exception SecuMailer": whoever sends it. Past the relay, and no more rules.
if allof (environment :is "vnd.conbool.kind" "automatic-reply",
          environment :is "vnd.conbool.setting.automatic_replies" "direct") {
    addheader :last "X-SecuMailer-OOO" "true";
    addflag "direct:automatic-reply";
    stop;
}

# 2. "SecuMailer NTA 7516 Mailflow Rule - 1": before the rule for AVG, so that who is in both groups gets the higher
# security.
if environment :is "vnd.conbool.in-scope.nta7516" "yes" {
    addheader :last "X-SecuMailer-NTA7516" "true";
}

# 3. and 4. "SecuMailer NTA 7516 Mailflow Rule - 2" and "SecuMailer AVG mailflow Rule" do the same, so that who is in
# both groups gets it once.
if allof (environment :is "vnd.conbool.in-scope" "yes",
          environment :matches "vnd.conbool.setting.customer_id" "*") {
    set "customer_id" "${1}";
    addheader :last "X-Secumail-Id" "${customer_id}";
}
