# Policy for Mailprotector, after the vendor's guide "Office 365 - Inbound Connector".
#
# The guide asks for one thing: that mail from outside is taken from Mailprotector's servers only, over TLS. That is
# lock-down, which provider.toml sets up; see [lock_down] in conbool-milter.toml(5). No message is treated otherwise.

keep;
