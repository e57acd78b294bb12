# Who is online, asked of a peerage daemon. Needs Perl only.
#   my $online = Online->new('127.0.0.1:6399');        # or the path of a socket; then a password
#   $online->hit('ann', 'www.example.com/a');          # as good as one more page view
#   my @names = $online->url('www.example.com/a', 30); # who is on it, newest first
# Dies with the daemon's words where it refuses, and where the connection is lost.
package Online;
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;

sub new {
    my ($class, $place, $password) = @_;
    my $socket =
        $place =~ m{/}
        ? IO::Socket::UNIX->new(Peer => $place)
        : IO::Socket::INET->new(PeerAddr => $place, Timeout => 5);
    die "$place: $!\n" unless $socket;
    my $self = bless { socket => $socket }, $class;
    $self->ask('AUTH', $password) if defined $password;
    return $self;
}

sub hit   { my ($self, $user, $url, @time) = @_; $self->ask('ONLINE.HIT', $user, $url, @time) }
sub count { my ($self, @window) = @_; $self->ask('ONLINE.COUNT', @window) }
sub url   { my ($self, $url, $limit) = @_; @{ $self->ask('ONLINE.URL', $url, 'LIMIT', $limit // 30) } }
sub top   { my ($self, $count) = @_; @{ $self->ask('ONLINE.TOP', $count // 10) } }
sub user  { my ($self, $name) = @_; @{ $self->ask('ONLINE.USER', $name) // [] } }
sub del   { my ($self, $name) = @_; $self->ask('ONLINE.DEL', $name) }

# Any command; undef for nothing, a reference for a list.
sub ask {
    my ($self, @words) = @_;
    $self->send(@words);
    return $self->reply;
}

# The two halves of it, for those who ask many things at once: send all, then take each reply.
sub send {
    my ($self, @words) = @_;
    utf8::encode($_) for grep { utf8::is_utf8($_) } @words;
    my @parts = map { '$' . length($_) . "\r\n$_\r\n" } @words;
    $self->{socket}->print('*' . @parts . "\r\n", @parts) or die "the connection is lost: $!\n";
}

sub reply {
    my ($self) = @_;
    local $/ = "\r\n";
    my $line = readline($self->{socket}) // die "the connection is lost\n";
    chomp $line;
    my ($kind, $rest) = (substr($line, 0, 1), substr($line, 1));
    die "$rest\n" if $kind eq '-';
    return $rest if $kind eq '+' || $kind eq ':';
    return undef if $rest < 0;
    return [map { $self->reply } 1 .. $rest] if $kind eq '*';
    read($self->{socket}, my $text, $rest + 2) == $rest + 2 or die "the connection is lost\n";
    return substr $text, 0, $rest;
}

1;
