import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Takes orders for slots over JDBC: reads what is booked, checks, and writes the sum at the server's default level.
 * `java -cp postgresql.jar Booking.java`, with JDBC_URL and PORT.
 */
public class Booking {
    private static final int CONNECTIONS = 10;
    private static final BlockingQueue<Connection> IDLE = new LinkedBlockingQueue<>();

    public static void main(String[] words) throws Exception {
        for (int i = 0; i < CONNECTIONS; i++) {
            Connection connection = DriverManager.getConnection(System.getenv("JDBC_URL"));
            connection.setAutoCommit(false);
            IDLE.add(connection);
        }
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "0"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/healthz", exchange -> answer(exchange, 200, "{\"status\": \"ok\"}"));
        server.createContext("/orders", Booking::order);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
        System.out.println("listening on 127.0.0.1:" + server.getAddress().getPort());
    }

    private static void order(HttpExchange exchange) throws IOException {
        String body = new String(exchange.getRequestBody().readAllBytes());
        try {
            book(field(body, "id"), field(body, "customer"), field(body, "slot"), Integer.parseInt(field(body, "amount")));
            answer(exchange, 201, body);
        } catch (SQLException refused) {
            boolean conflict = Set.of("40001", "40P01", "23505", "full").contains(refused.getSQLState());
            String reason = refused.getMessage() + " (" + refused.getSQLState() + ")";
            answer(exchange, conflict ? 409 : 500, "{\"reason\": \"" + reason.replaceAll("[\"\\n]", " ") + "\"}");
        } catch (IllegalArgumentException malformed) {
            answer(exchange, 400, "{\"reason\": \"POST an order with id, customer, slot and amount\"}");
        }
    }

    private static void book(String id, String customer, String slot, int amount) throws SQLException {
        Connection connection = null;
        try {
            connection = IDLE.take();
            bookIn(connection, id, customer, slot, amount);
            connection.commit();
        } catch (InterruptedException stopped) {
            throw new IllegalStateException(stopped);
        } catch (SQLException failed) {
            connection.rollback();
            throw failed;
        } finally {
            if (connection != null) IDLE.add(connection);
        }
    }

    private static void bookIn(Connection connection, String id, String customer, String slot, int amount)
            throws SQLException {
        int booked;
        try (PreparedStatement read = connection.prepareStatement("SELECT booked, capacity FROM slots WHERE id = ?")) {
            read.setString(1, slot);
            ResultSet row = read.executeQuery();
            if (!row.next()) throw new IllegalArgumentException(slot);
            booked = row.getInt(1);
            if (booked + amount > row.getInt(2)) throw new SQLException("the slot is full", "full");
        }
        try (PreparedStatement write = connection.prepareStatement("UPDATE slots SET booked = ? WHERE id = ?")) {
            write.setInt(1, booked + amount);
            write.setString(2, slot);
            write.executeUpdate();
        }
        try (PreparedStatement insert = connection.prepareStatement(
                "INSERT INTO orders (id, customer, slot, amount) VALUES (?, ?, ?, ?)")) {
            insert.setString(1, id);
            insert.setString(2, customer);
            insert.setString(3, slot);
            insert.setInt(4, amount);
            insert.executeUpdate();
        }
    }

    private static String field(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\"\\s*:\\s*\"?([^\",}]*)").matcher(json);
        if (!found.find()) throw new IllegalArgumentException(name);
        return found.group(1).trim();
    }

    private static void answer(HttpExchange exchange, int status, String json) throws IOException {
        byte[] body = json.getBytes();
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, body.length);
        try (OutputStream out = exchange.getResponseBody()) {
            out.write(body);
        }
    }
}
