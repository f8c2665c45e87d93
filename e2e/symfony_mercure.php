<?php

// Symfony's component for Mercure and its reader of event streams, as Debian packages them:
//   php symfony_mercure.php publish HUB KEY TOPICS DATA     publishes a private update, prints its id
//   php symfony_mercure.php read HUB KEY TOPIC COUNT        prints so many events, each as JSON
//   php symfony_mercure.php cookie HUB KEY PAGE TOPIC       prints the cookie that lets a page's browser in

declare(strict_types=1);

require_once 'Symfony/Component/Mercure/autoload.php';

use Symfony\Component\HttpClient\Chunk\ServerSentEvent;
use Symfony\Component\HttpClient\EventSourceHttpClient;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\Mercure\Authorization;
use Symfony\Component\Mercure\Hub;
use Symfony\Component\Mercure\HubRegistry;
use Symfony\Component\Mercure\Jwt\FactoryTokenProvider;
use Symfony\Component\Mercure\Jwt\TokenFactoryInterface;
use Symfony\Component\Mercure\Update;

/** Writes tokens as lcobucci/jwt does by default, which Debian does not have: `exp` has a fraction. */
final class Tokens implements TokenFactoryInterface
{
    public function __construct(private string $key)
    {
    }

    public function create(?array $subscribe = [], ?array $publish = [], array $additionalClaims = []): string
    {
        $expires = $additionalClaims['exp'] ?? new DateTimeImmutable('+1 hour');
        $claims = ['mercure' => ['publish' => $publish, 'subscribe' => $subscribe], 'exp' => (float) $expires->format('U.u')];
        $encode = fn (string $part) => rtrim(strtr(base64_encode($part), '+/', '-_'), '=');
        $message = $encode(json_encode(['typ' => 'JWT', 'alg' => 'HS256'])).'.'.$encode(json_encode($claims));

        return $message.'.'.$encode(hash_hmac('sha256', $message, $this->key, true));
    }
}

[, $what, $url, $key] = $argv;
$tokens = new Tokens($key);
$hub = new Hub($url, new FactoryTokenProvider($tokens, ['*'], ['*']), $tokens, $url);

switch ($what) {
    case 'publish':
        $update = new Update(explode(' ', $argv[4]), $argv[5], true, 'urn:uuid:symfony', 'price', 2000);
        echo $hub->publish($update);
        break;
    case 'read':
        $client = new EventSourceHttpClient(null, 0.1);
        $source = $client->connect($url.'?topic='.rawurlencode($argv[4]), ['auth_bearer' => $hub->getProvider()->getJwt()]);
        for ($count = 0; $count < (int) $argv[5];) {
            foreach ($client->stream($source, 20) as $chunk) {
                if ($chunk->isTimeout()) {
                    fwrite(STDERR, "nothing came\n");
                    exit(1);
                }
                if ($chunk instanceof ServerSentEvent && '' !== $chunk->getData()) {
                    echo json_encode(['type' => $chunk->getType(), 'id' => $chunk->getId(), 'data' => $chunk->getData()], JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES), "\n";
                    if (++$count === (int) $argv[5]) {
                        break 2;
                    }
                }
            }
        }
        break;
    case 'cookie':
        $authorization = new Authorization(new HubRegistry($hub));
        echo $authorization->createCookie(Request::create($argv[4]), [$argv[5]]);
        break;
}
