package tidings.zoo;

import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import jakarta.ws.rs.client.ClientBuilder;
import jakarta.ws.rs.sse.SseEventSource;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;
import org.springframework.core.ParameterizedTypeReference;
import org.springframework.http.client.reactive.JdkClientHttpConnector;
import org.springframework.http.codec.ServerSentEvent;
import org.springframework.web.reactive.function.client.WebClient;
import tools.jackson.databind.json.JsonMapper;

/**
 * The event-stream clients that are written in Java, each with the few lines that its documentation
 * tells its users to write. See ../../../../../../README.md for what is read and what is printed.
 */
public class Reader {
  /** How long a loop of one's own waits before it asks again. */
  private static final long LOOP_MS = 250;
  private static final JsonMapper JSON = new JsonMapper();

  interface Tell {
    void event(String type, String id, String data);
  }

  interface Client {
    void read(String url, Tell tell) throws Exception;
  }

  interface Once {
    void read(String url, String lastEventId, Tell tell) throws Exception;
  }

  private static final Map<String, Client> CLIENTS = Map.of(
      "java.net.http", again(Reader::lines),
      "WebClient", again((url, last, tell) -> webClient(WebClient.create(), url, last, tell)),
      "WebClient over java.net.http", again((url, last, tell) -> {
        var connector = new JdkClientHttpConnector(HttpClient.newHttpClient());
        webClient(WebClient.builder().clientConnector(connector).build(), url, last, tell);
      }),
      "Jersey", Reader::jersey,
      "okhttp-sse", again(Reader::okhttp),
      "okhttp-eventsource", Reader::launchDarkly);

  /**
   * What does not come back by itself, in the loop that one writes around it: ask again with the id
   * of the last event.
   */
  private static Client again(Once once) {
    return (url, tell) -> {
      var last = new String[] {null};
      while (true) {
        try {
          once.read(url, last[0], (type, id, data) -> {
            if (id != null) last[0] = id;
            tell.event(type, id, data);
          });
        } catch (IOException | RuntimeException lost) {
          // The connection was lost, or refused.
        }
        Thread.sleep(LOOP_MS);
      }
    };
  }

  /** The few lines that the standard's own description needs (HTML, 9.2.6). */
  private static void lines(String url, String lastEventId, Tell tell) throws Exception {
    var request = HttpRequest.newBuilder(URI.create(url)).header("Accept", "text/event-stream");
    if (lastEventId != null) request.header("Last-Event-ID", lastEventId);
    String type = null;
    String id = null;
    List<String> data = new ArrayList<>();
    try (Stream<String> body = CLIENT.send(request.build(), BodyHandlers.ofLines()).body()) {
      for (var lines = body.iterator(); lines.hasNext(); ) {
        String line = lines.next();
        int colon = line.indexOf(':');
        String name = colon < 0 ? line : line.substring(0, colon);
        String value = colon < 0 ? "" : line.substring(colon + 1).replaceFirst("^ ", "");
        if (line.isEmpty()) {
          if (!data.isEmpty()) tell.event(type, id, String.join("\n", data));
          type = null;
          data.clear();
        }
        switch (name) {
          case "data" -> data.add(value);
          case "event" -> type = value;
          case "id" -> id = value;
          default -> { }
        }
      }
    }
  }

  private static final HttpClient CLIENT = HttpClient.newHttpClient();

  private static void webClient(WebClient client, String url, String lastEventId, Tell tell) {
    var type = new ParameterizedTypeReference<ServerSentEvent<String>>() {};
    client.get().uri(URI.create(url))
        .headers(headers -> {
          if (lastEventId != null) headers.set("Last-Event-ID", lastEventId);
        })
        .retrieve()
        .bodyToFlux(type)
        .toStream(1)
        .forEach(event -> tell.event(event.event(), event.id(), event.data()));
  }

  private static void jersey(String url, Tell tell) throws Exception {
    var target = ClientBuilder.newClient().target(URI.create(url));
    try (SseEventSource source = SseEventSource.target(target).build()) {
      source.register(event -> tell.event(event.getName(), event.getId(), event.readData()));
      source.open();
      new CountDownLatch(1).await();
    }
  }

  private static void okhttp(String url, String lastEventId, Tell tell) throws Exception {
    var client = new OkHttpClient.Builder().readTimeout(0, TimeUnit.SECONDS).build();
    var request = new Request.Builder().url(url);
    if (lastEventId != null) request.header("Last-Event-ID", lastEventId);
    var ended = new CountDownLatch(1);
    EventSources.createFactory(client).newEventSource(request.build(), new EventSourceListener() {
      @Override
      public void onEvent(okhttp3.sse.EventSource source, String id, String type, String data) {
        tell.event(type, id, data);
      }

      @Override
      public void onClosed(okhttp3.sse.EventSource source) {
        ended.countDown();
      }

      @Override
      public void onFailure(okhttp3.sse.EventSource source, Throwable error, Response response) {
        ended.countDown();
      }
    });
    ended.await();
  }

  private static void launchDarkly(String url, Tell tell) throws Exception {
    // Beyond the hub's heartbeat, which comes every 15 s.
    var connect = ConnectStrategy.http(URI.create(url)).readTimeout(60, TimeUnit.SECONDS);
    var builder = new EventSource.Builder(connect);
    // Otherwise the first lost connection is the end.
    builder.errorStrategy(ErrorStrategy.alwaysContinue());
    try (EventSource source = builder.build()) {
      for (var event : source.messages()) {
        tell.event(event.getEventName(), event.getLastEventId(), event.getData());
      }
    }
  }

  private static synchronized void print(String stream, Map<String, String> more) {
    var line = new LinkedHashMap<String, String>();
    line.put("stream", stream);
    line.putAll(more);
    System.out.println(JSON.writeValueAsString(line));
    System.out.flush();
  }

  private static void read(String stream, String name, String url) {
    String error = "it has ended";
    try {
      Client client = CLIENTS.get(name);
      if (client == null) throw new IllegalArgumentException("there is no client " + name + " here");
      client.read(url, (type, id, data) -> {
        var event = new LinkedHashMap<String, String>();
        event.put("type", type == null || type.isEmpty() ? "message" : type);
        event.put("id", id);
        event.put("data", data);
        print(stream, event);
      });
    } catch (Exception failed) {
      error = failed.toString();
    }
    print(stream, Map.of("error", error));
  }

  public static void main(String[] arguments) throws IOException {
    var input = new BufferedReader(new InputStreamReader(System.in));
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      var wanted = JSON.readTree(line);
      String stream = wanted.get("stream").asString();
      String client = wanted.get("client").asString();
      String url = wanted.get("url").asString();
      var thread = new Thread(() -> read(stream, client, url));
      thread.setDaemon(true);
      thread.start();
    }
    System.exit(0);
  }
}
