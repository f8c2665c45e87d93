<?php

// The event-stream clients that are written in PHP, from Debian, each with the few lines that its
// documentation tells its users to write. It reads one stream; see ../README.md.

use GuzzleHttp\Client;
use Symfony\Component\HttpClient\Chunk\ServerSentEvent;
use Symfony\Component\HttpClient\CurlHttpClient;
use Symfony\Component\HttpClient\EventSourceHttpClient;
use Symfony\Component\HttpClient\NativeHttpClient;

/** How long a loop of one's own waits before it asks again. */
const LOOP_MICROSECONDS = 250_000;

/** How long a stream may be silent: longer than several of the hub's heartbeats. */
const SILENCE_SECONDS = 60;

require 'Symfony/Component/HttpClient/autoload.php';
require 'GuzzleHttp/autoload.php';

['stream' => $stream, 'client' => $client, 'url' => $url] = json_decode(fgets(STDIN), true);

function say(array $line): void
{
    global $stream;
    echo json_encode(['stream' => $stream] + $line, JSON_UNESCAPED_SLASHES), "\n";
}

function tell(string $type, ?string $id, string $data): void
{
    say(['type' => '' === $type ? 'message' : $type, 'id' => $id, 'data' => $data]);
}

function symfony($http, string $url): void
{
    $client = new EventSourceHttpClient($http);
    $source = $client->connect($url);
    while ($source) {
        foreach ($client->stream($source, SILENCE_SECONDS) as $response => $chunk) {
            if ($chunk->isTimeout()) {
                continue;
            }
            if ($chunk->isLast()) {
                return;
            }
            if ($chunk instanceof ServerSentEvent) {
                tell($chunk->getType(), $chunk->getId(), $chunk->getData());
            }
        }
    }
}

/** What hands out lines, in the loop that one writes around it: ask again with the last id. */
function again(string $url, callable $lines): void
{
    $last = null;
    for (; ; usleep(LOOP_MICROSECONDS)) {
        $type = '';
        $data = [];
        $id = $last;
        try {
            foreach ($lines($url, $last) as $line) {
                [$name, $value] = explode(':', $line, 2) + [1 => ''];
                $value = preg_replace('/^ /', '', $value);
                if ('' === $line) {
                    if ($data) {
                        $last = $id;
                        tell($type, $id, implode("\n", $data));
                    }
                    $type = '';
                    $data = [];
                } elseif ('data' === $name) {
                    $data[] = $value;
                } elseif ('event' === $name) {
                    $type = $value;
                } elseif ('id' === $name) {
                    $id = $value;
                }
            }
        } catch (Exception) {
            // The connection was lost, or refused.
        }
    }
}

function fopen_lines(string $url, ?string $last, float $version = 1.1): iterable
{
    $headers = "Accept: text/event-stream\r\n".(null === $last ? '' : "Last-Event-ID: $last\r\n");
    $context = stream_context_create(['http' => ['header' => $headers, 'timeout' => 60, 'protocol_version' => $version]]);
    $source = @fopen($url, 'r', false, $context);
    // What is cut off in the middle of a line is none.
    while ($source && str_ends_with($line = fgets($source) ?: '', "\n")) {
        yield rtrim($line, "\n");
    }
}

function guzzle_lines(string $url, ?string $last): iterable
{
    $headers = ['Accept' => 'text/event-stream'] + (null === $last ? [] : ['Last-Event-ID' => $last]);
    $body = (new Client())->get($url, ['headers' => $headers, 'stream' => true])->getBody();
    while (str_ends_with($line = GuzzleHttp\Psr7\Utils::readLine($body), "\n")) {
        yield rtrim($line, "\n");
    }
}

try {
    match ($client) {
        'EventSourceHttpClient over curl' => symfony(new CurlHttpClient(), $url),
        'EventSourceHttpClient over PHP streams' => symfony(new NativeHttpClient(), $url),
        'fopen' => again($url, 'fopen_lines'),
        'fopen, 1.0' => again($url, fn ($url, $last) => fopen_lines($url, $last, 1.0)),
        'Guzzle' => again($url, 'guzzle_lines'),
    };
    say(['error' => 'it has ended']);
} catch (Throwable $error) {
    say(['error' => get_class($error).': '.$error->getMessage()]);
}
