# Where mail is delivered, for Conbool, after the vendor's guide "Open-Xchange", steps C and D.
#
# Dovecot's Pigeonhole runs it before each user's own script (sieve_before). It believes both fields because
# conbool-milter removes them from everybody's mail but its own and the relay's: without the milter in front, do not use it.
# It looks at X-Spam-Flag, which is the milter's verdict, and not at X-Conbool-Flag, which is only what led to it: a script
# of the site's may have decided otherwise.
#
# "fileinto" ends the implicit keep, so that no script that comes later is run.

require ["fileinto", "mailbox", "variables"];

# conbool-milter puts the site's mailbox.spam_folder here.
set "spam_folder" "Spam";

# Step D: released mail goes to the inbox, past all later filters. It wins over the spam flag.
if header :is "X-Conbool-Released" "yes" {
    fileinto "INBOX";
    stop;
}

# Step C: spam.
if header :is "X-Spam-Flag" "YES" {
    fileinto :create "${spam_folder}";
    stop;
}
